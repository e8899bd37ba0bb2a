"""Evaluates a run on a split of its data, or of any other data set with classes of the same names.

    python -m experiments.evaluate --workdir=DIR [--data=SOURCE] [--split=val] [--step=N]

Prints a table, and writes evaluation/SPLIT.json and pictures into the run folder: predictions, spread evenly over the split;
the worst of all; a confusion matrix, or of detectors precision over recall. Detections are drawn from the score on at which
F1 is best on this split, those of the worst examples at which it was best in training.
"""

import hashlib
import json

from cnnvision.installation import typed
from cnnvision.runs.configuration import to_json

from .command_line import Parser, cache_compilations, folder, main


def run(workdir, data: str | None = None, split: str | None = None, step: int | None = None, say=print) -> dict[str, float]:
    """Evaluates the checkpoint of `step` (the best one by default), and returns the metrics."""
    import jax
    from etils import epath

    from cnnvision.evaluation.worst import Worst
    from cnnvision.pictures import sheets
    from cnnvision.pictures.confusion import draw_confusion
    from cnnvision.pictures.curves import draw_precision_recall
    from cnnvision.runs.join import evaluation_of, names_of, open_for
    from cnnvision.runs.open import load
    from cnnvision.training.evaluate import remarks

    trained = load(workdir, step)
    name, split = data or trained.config.data.source, split or trained.config.data.eval_split
    source = open_for(trained.task, trained.info, name, split)
    for problem in source.problems[:5]:
        say(str(problem))
    if len(source.problems) > 5:
        say(f"… and {len(source.problems) - 5} more problems: {typed(f'doctor --data={name}')}")
    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh)
    classes = names_of(trained.task, trained.info)
    worst = Worst(sheets.MOST, trained.threshold)
    metrics, shown = evaluation.run(trained.params, trained.model_state, keep=sheets.MOST, watch=worst.add)
    for line in remarks(evaluation, metrics):
        say(line)
    if jax.process_index() == 0:
        label = split if data is None else f"{split}_of_{readable(name)}"
        folder = epath.Path(workdir) / "evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        values = {key: value if value == value else None for key, value in metrics.items()}
        about = {"step": trained.step, "data": name, "split": split, "classes": to_json(classes)}
        (folder / f"{label}.json").write_text(json.dumps({**about, "metrics": values}, indent=1))
        sheets.write_sheet(folder / f"{label}.png", shown, classes, metrics.get("score_threshold", 0.5))
        sheets.write_sheet(folder / f"{label}_worst.png", worst.shown(), classes, worst.threshold)
        if hasattr(evaluation.evaluator, "confusion"):
            sheets.write_png(folder / f"{label}_confusion.png", draw_confusion(evaluation.evaluator.confusion, classes))
        if hasattr(evaluation.evaluator, "precision_recall"):
            curves = {name: evaluation.evaluator.precision_recall(k) for k, name in enumerate(classes)}
            sheets.write_png(folder / f"{label}_precision_recall.png", draw_precision_recall(curves))
        say(f"Step {trained.step} of {workdir} on {name} {split}. Written: {folder / label}.json and .png")
    return metrics


def readable(name: str, most: int = 60) -> str:
    """A name for files that tells a source's name, or its end, and is another one for each source."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[-most:]
    return f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def command(arguments: list[str] | None = None) -> int:
    """Parses, evaluates, prints."""
    parser = Parser("evaluate", __doc__)
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="a run folder")
    parser.add_argument("--data", metavar="SOURCE", help="another data set than the run's own; classes are matched by name")
    parser.add_argument("--split", metavar="NAME", help="the run's own evaluation split by default")
    parser.add_argument("--step", type=int, metavar="N", help="of the checkpoint; the best one by default")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    metrics = run(flags.workdir, flags.data, flags.split, flags.step)

    from .reports.tables import markdown

    print(markdown(("metric", "value"), list(metrics.items())))
    return 0


if __name__ == "__main__":
    main(command)
