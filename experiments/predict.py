"""Predicts on images of any size and kind, with the best checkpoint of a run, or with a file of weights.

    python -m experiments.predict --workdir=DIR --images=GLOB_OR_DIR --output=DIR [--step=N]
    python -m experiments.predict --config=configs/NAME.py --config.model.pretrained=FILE --images=GLOB_OR_DIR --output=DIR

FILE is of a whole network: torchvision's classifiers and detectors, whose classes are then ImageNet's and COCO's.

Writes one annotated PNG an image (of a detector those detections whose score is at least that of the best F1 in training),
and predictions.json: file, width, height; class, score and box ([x1, y1, x2, y2] in the original image's pixels); of a
detector all detections, the best first, with masks as COCO's compressed run lengths and their areas in pixels where it has
any; of a network with a class for every pixel, mask (a PNG of class ids, as large as the image) and the share of the image
that each class covers. An image that cannot be read is named there and on the screen, and the others are predicted. Images
in the output folder are left out.

Of a detector also coco_results.json, the detections in COCO's format of results. Its image_id is the number that all files'
names end in, if they are named as COCO's are (000000000139.jpg), else from 1 on; predictions.json has it, too. Its
category_id is that of the data set that was trained on, COCO's where all classes have COCO's names, else from 1 on.
"""

import json
from typing import Any

from .command_line import Parser, add_network, cache_compilations, check_output, config_of, folder, main


def describe(prediction: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """One image's prediction (original pixels) as JSON values; detections are described by `describe_detection`."""
    import numpy as np

    from cnnvision.types import SegmentationPrediction

    if isinstance(prediction, SegmentationPrediction):
        counts = np.bincount(prediction.labels.ravel(), minlength=256) / prediction.labels.size
        return {"shares": {name: round(float(counts[index]), 6) for index, name in enumerate(classes)}}
    best = int(prediction.scores.argmax())
    found = {"class": classes[best], "score": round(float(prediction.scores[best]), 6)}
    if hasattr(prediction, "boxes"):
        found["box"] = [round(float(x), 3) for x in prediction.boxes]
    return found


def describe_detection(detection: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """One `Detection` as JSON values."""
    found = {"class": classes[detection.label], "score": detection.score, "box": detection.box}
    return found if detection.mask is None else {**found, "mask": detection.mask, "area": detection.area}


def run(workdir, images: str, output: str, step: int | None = None, say=print, config: Any = None) -> list[dict[str, Any]]:
    """Predicts, draws and writes; returns the content of predictions.json.

    Args:
        workdir: a run folder; None where `config` is given, a ConfigDict whose weights are a file of a whole network.
        images: a folder, a file or a pattern.
        output: a folder.
        step: of the checkpoint; the best one by default.
        say: prints a line.
        config: see `workdir`.
    """
    import jax

    from cnnvision.data.sources.loose import LooseImages
    from cnnvision.evaluation.coco_results import ResultsFile, detections_of
    from cnnvision.pictures import sheets
    from cnnvision.runs.identities import category_ids, image_ids
    from cnnvision.runs.join import evaluation_of, names_of
    from cnnvision.runs.open import from_weights, load
    from cnnvision.storage import check_writable, path_of, write_whole
    from cnnvision.types import DetectionPrediction, SegmentationPrediction

    check_output(output)
    check_writable(output)
    folder = path_of(output)
    source = LooseImages(images, without=folder)
    if source.skipped:
        example = source.skipped[0].name
        say(f"{len(source.skipped)} files are not named like images and were skipped, for example {example}")
    trained = load(workdir, step) if config is None else from_weights(config, say=say)
    classes, ids = names_of(trained.task, trained.info), image_ids(source.ids)
    position = {name: index for index, name in enumerate(source.ids)}
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}

    def collect(examples, predictions):
        for row, example in enumerate(examples):
            index = position[example.id]
            prediction = jax.tree.map(lambda x, row=row: x[row], predictions)
            about = {"file": example.id, "width": example.size[1], "height": example.size[0]}
            if isinstance(prediction, DetectionPrediction):
                detections = list(detections_of(prediction, example.size))
                results.add(example.id, detections)
                described = [describe_detection(detection, classes) for detection in detections]
                found[index] = {**about, "image_id": ids[example.id], "detections": described}
            else:
                found[index] = {**about, **describe(prediction, classes)}
            if isinstance(prediction, SegmentationPrediction):
                found[index]["mask"] = f"{example.id}.mask.png"
                sheets.write_png(folder / found[index]["mask"], prediction.labels)
            picture = sheets.annotate(source.read(index).image, classes, prediction, trained.threshold)
            sheets.write_png(folder / f"{example.id}.png", picture)

    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh, targets=False)
    with ResultsFile(folder / "coco_results.json", ids, category_ids(trained.info)) as results:
        evaluation.run(trained.params, trained.model_state, collect=collect)
    for problem in evaluation.failures:
        say(f"not predicted: {problem}")
        name = problem.file if problem.file in position else problem.record
        found[position.get(name, len(found))] = {"file": name, "error": problem.message}
    predictions = [found[index] for index in sorted(found)]
    write_whole(folder / "predictions.json", json.dumps(predictions, indent=1) + "\n")
    say(f"{len(predictions) - len(evaluation.failures)} images predicted, {len(evaluation.failures)} not. Written: {folder}")
    return predictions


def command(arguments: list[str] | None = None) -> int:
    """Parses and predicts; exit code 1 where an image could not be read."""
    parser = Parser("predict", __doc__)
    add_network(parser)
    parser.add_argument("--images", required=True, metavar="GLOB_OR_DIR", help="a folder, a file, or a quoted pattern")
    parser.add_argument("--output", required=True, type=folder, metavar="DIR", help="where pictures and predictions.json go")
    flags, overrides = parser.parse(arguments)
    config = config_of(parser, flags, overrides)
    cache_compilations()
    predictions = run(flags.workdir, flags.images, flags.output, flags.step, config=config)
    return int(any("error" in found for found in predictions))


if __name__ == "__main__":
    main(command)
