"""Predicts on images of any size and kind, with the best checkpoint of a run.

    python -m experiments.predict --workdir=DIR --images=GLOB_OR_DIR --output=DIR [--step=N]

Writes one annotated PNG an image (of a detector those detections whose score is at least that of the best F1 in training),
and predictions.json: file, width, height; class, score and box ([x1, y1, x2, y2] in the original image's pixels); of a
detector all detections, the best first; of a network with a class for every pixel, mask (a PNG of class ids, as large as the
image) and the share of the image that each class covers. An image that cannot be read is named there and on the screen, and
the others are predicted. Images in the output folder are left out.
"""

import json
import pathlib
from typing import Any

from .command_line import Parser, cache_compilations, folder, main


def describe(prediction: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """One image's prediction (original pixels) as JSON values."""
    import numpy as np

    from cnnvision.types import DetectionPrediction, SegmentationPrediction

    exact = lambda x: float(str(np.float32(x)))  # the shortest number that is the same float32: average precision needs it
    if isinstance(prediction, DetectionPrediction):
        rows = zip(prediction.labels, prediction.scores, prediction.boxes, prediction.valid, strict=True)
        return {
            "detections": [
                {"class": classes[label], "score": exact(score), "box": [exact(x) for x in box]}
                for label, score, box, valid in rows
                if valid
            ]
        }
    if isinstance(prediction, SegmentationPrediction):
        counts = np.bincount(prediction.labels.ravel(), minlength=256) / prediction.labels.size
        return {"shares": {name: round(float(counts[index]), 6) for index, name in enumerate(classes)}}
    best = int(prediction.scores.argmax())
    found = {"class": classes[best], "score": round(float(prediction.scores[best]), 6)}
    if hasattr(prediction, "boxes"):
        found["box"] = [round(float(x), 3) for x in prediction.boxes]
    return found


def run(workdir, images: str, output: str, step: int | None = None, say=print) -> list[dict[str, Any]]:
    """Predicts, draws and writes; returns the content of predictions.json."""
    import jax

    from cnnvision.data.sources.loose import LooseImages
    from cnnvision.errors import RunError
    from cnnvision.pictures import sheets
    from cnnvision.runs.join import evaluation_of, names_of
    from cnnvision.runs.open import load
    from cnnvision.types import SegmentationPrediction

    folder = pathlib.Path(output)
    if folder.is_file():
        raise RunError(f"--output: {output} is a file; name a folder")
    source, trained = LooseImages(images, without=folder), load(workdir, step)
    classes = names_of(trained.task, trained.info)
    position = {name: index for index, name in enumerate(source.ids)}
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}

    def collect(examples, predictions):
        for row, example in enumerate(examples):
            index = position[example.id]
            prediction = jax.tree.map(lambda x, row=row: x[row], predictions)
            height, width = example.size
            description = describe(prediction, classes)
            found[index] = {"file": example.id, "width": width, "height": height, **description}
            if isinstance(prediction, SegmentationPrediction):
                found[index]["mask"] = f"{example.id}.mask.png"
                sheets.write_png(folder / found[index]["mask"], prediction.labels)
            picture = sheets.annotate(source.read(index).image, classes, prediction, trained.threshold)
            sheets.write_png(folder / f"{example.id}.png", picture)

    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh, targets=False)
    evaluation.run(trained.params, trained.model_state, collect=collect)
    for problem in evaluation.failures:
        say(f"not predicted: {problem}")
        name = problem.file if problem.file in position else problem.record
        found[position.get(name, len(found))] = {"file": name, "error": problem.message}
    predictions = [found[index] for index in sorted(found)]
    draft = folder / "predictions.json.draft"
    draft.write_text(json.dumps(predictions, indent=1) + "\n")
    draft.replace(folder / "predictions.json")
    say(f"{len(predictions) - len(evaluation.failures)} images predicted, {len(evaluation.failures)} not. Written: {folder}")
    return predictions


def command(arguments: list[str] | None = None) -> int:
    """Parses and predicts; exit code 1 where an image could not be read."""
    parser = Parser("predict", __doc__)
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="a run folder")
    parser.add_argument("--images", required=True, metavar="GLOB_OR_DIR", help="a folder, a file, or a quoted pattern")
    parser.add_argument("--output", required=True, type=folder, metavar="DIR", help="where pictures and predictions.json go")
    parser.add_argument("--step", type=int, metavar="N", help="of the checkpoint; the best one by default")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    return int(any("error" in found for found in run(flags.workdir, flags.images, flags.output, flags.step)))


if __name__ == "__main__":
    main(command)
