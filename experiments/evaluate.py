"""Evaluates a run on a split of its data, or of any other data set with classes of the same names.

    python -m experiments.evaluate --workdir=DIR [--data=SOURCE] [--split=val] [--step=N]
    python -m experiments.evaluate --config=configs/NAME.py --config.model.pretrained=FILE --data=SOURCE --output=DIR

FILE is of a whole network: torchvision's classifiers and detectors, whose classes are then ImageNet's and COCO's.

Prints a table, and writes SPLIT.json and pictures into evaluation/ of the run folder, or into --output=DIR: predictions,
spread evenly over the split; the worst of all; a confusion matrix, or of detectors precision over recall. Detections are
drawn from the score on at which F1 is best on this split, those of the worst examples at which it was best in training.
SPLIT_contributions.npz is what each image added to the metrics, for `compare --split`. Of a detector on a coco: data set
also SPLIT_coco_results.json: all detections in COCO's format of results, with the ids of the data set.
"""

import hashlib
import json
from typing import Any

from cnnvision.installation import typed
from cnnvision.runs.configuration import to_json

from .command_line import Parser, add_network, cache_compilations, check_output, config_of, folder, main


def run(
    workdir,
    data: str | None = None,
    split: str | None = None,
    step: int | None = None,
    say=print,
    config: Any = None,
    output: str | None = None,
) -> dict[str, float]:
    """Evaluates the checkpoint of `step` (the best one by default), and returns the metrics.

    Args:
        workdir: a run folder; None where `config` is given, a ConfigDict whose weights are a file of a whole network.
        data, split: by default those that the config evaluates on.
        step: of the checkpoint.
        say: prints a line.
        config: see `workdir`.
        output: a folder; `evaluation` in the run folder by default.
    """
    import jax

    from cnnvision.errors import RunError
    from cnnvision.evaluation.coco_results import results_of
    from cnnvision.evaluation.worst import Worst
    from cnnvision.pictures import sheets
    from cnnvision.runs.join import evaluation_of, names_of, open_for
    from cnnvision.runs.open import from_weights, load
    from cnnvision.storage import check_writable, path_of, write_whole
    from cnnvision.training.evaluate import remarks

    if workdir is None and output is None:
        raise RunError("--config has no run folder to write into: name a folder with --output=DIR")
    if output is not None:
        check_output(output)
    check_writable(output or workdir)
    opened = load(workdir, step) if config is None else None
    config = config or opened.config
    name, split = data or config.data.source, split or config.data.eval_split
    trained = opened or from_weights(config, (name, split), say=say)
    source = open_for(trained.task, trained.info, name, split)
    for problem in source.problems[:5]:
        say(str(problem))
    if len(source.problems) > 5:
        say(f"… and {len(source.problems) - 5} more problems: {typed(f'doctor --data={name}')}")
    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh)
    classes = names_of(trained.task, trained.info)
    worst = Worst(sheets.MOST, trained.threshold)
    label = split if data is None else f"{split}_of_{readable(name)}"
    place = path_of(output) if output else path_of(workdir) / "evaluation"
    with results_of(source, place / f"{label}_coco_results.json", say) as collect:
        network = trained.params, trained.model_state
        metrics, shown = evaluation.run(*network, keep=sheets.MOST, collect=collect, watch=worst.add)
    for line in remarks(evaluation, metrics):
        say(line)
    if jax.process_index() == 0:
        values = {key: value if value == value else None for key, value in metrics.items()}
        about = {"step": trained.step, "data": name, "split": split, "classes": to_json(classes)}
        about |= {"weights": config.model.pretrained} if opened is None else {}
        write_whole(place / f"{label}.json", json.dumps({**about, "metrics": values}, indent=1))
        evaluation.write_contributions(place / f"{label}_contributions.npz", trained.step, config.training.steps)
        sheets.write_sheet(place / f"{label}.png", shown, classes, metrics.get("score_threshold", 0.5))
        sheets.write_sheet(place / f"{label}_worst.png", worst.shown(), classes, worst.threshold)
        draw(evaluation.evaluator, classes, place, label)
        whose = config.model.pretrained if opened is None else f"Step {trained.step} of {workdir}"
        say(f"{whose} on {name} {split}. Written: {place / label}.json and .png")
    return metrics


def draw(evaluator: Any, classes: tuple[str, ...], place: Any, label: str) -> None:
    """Writes the picture that goes with an evaluator: a confusion matrix, or precision over recall."""
    from cnnvision.pictures import sheets
    from cnnvision.pictures.confusion import draw_confusion
    from cnnvision.pictures.curves import draw_precision_recall

    if hasattr(evaluator, "confusion"):
        sheets.write_png(place / f"{label}_confusion.png", draw_confusion(evaluator.confusion, classes))
    if hasattr(evaluator, "precision_recall"):
        curves = {name: evaluator.precision_recall(k) for k, name in enumerate(classes)}
        sheets.write_png(place / f"{label}_precision_recall.png", draw_precision_recall(curves))


def readable(name: str, most: int = 60) -> str:
    """A name for files that tells a source's name, or its end, and is another one for each source."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[-most:]
    return f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def command(arguments: list[str] | None = None) -> int:
    """Parses, evaluates, prints."""
    parser = Parser("evaluate", __doc__)
    add_network(parser)
    parser.add_argument("--data", metavar="SOURCE", help="another data set than the run's own; classes are matched by name")
    parser.add_argument("--split", metavar="NAME", help="the run's own evaluation split by default")
    parser.add_argument("--output", type=folder, metavar="DIR", help="by default evaluation in the run folder")
    flags, overrides = parser.parse(arguments)
    config = config_of(parser, flags, overrides)
    cache_compilations()
    metrics = run(flags.workdir, flags.data, flags.split, flags.step, config=config, output=flags.output)

    from .reports.tables import markdown

    print(markdown(("metric", "value"), list(metrics.items())))
    return 0


if __name__ == "__main__":
    main(command)
