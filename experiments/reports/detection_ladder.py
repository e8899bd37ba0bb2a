"""What the ladder of detection compares: precision, what the proposals find, and where the seconds of an image go."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision.errors import RunError
from cnnvision.evaluation.bootstrap import percentiles
from cnnvision.evaluation.detection_bootstrap import resampled_precisions
from cnnvision.evaluation.detection_errors import shown
from cnnvision.pictures import sheets
from cnnvision.pictures.curves import draw_seconds
from cnnvision.pictures.overlays import comparison, framed
from cnnvision.runs.join import evaluation_of
from cnnvision.runs.open import Trained, evaluated, load
from cnnvision.task import ProposalSpec

from .costs import PARTS, DetectorCost, detector_cost, on_one_device, proposal_seconds, steps
from .tables import markdown, order_line, write_ladder

METRICS = ("AP", "AP50", "APs", "APm", "APl", "proposal_recall")
INTERVALS = ("AP", "AP50")
"""Of them, what has a 95 % interval over images."""
SHOWN = 6
"""Images in the picture; on them proposals that are made ahead of the network are timed, too."""
ROUNDS = 5
"""Measurements of each program's time, in turns; the median counts."""


@dataclasses.dataclass
class Contender:
    """One detector.

    Attributes:
        name: in the table.
        trained: the network.
        metrics: of its evaluation.
        resampled: "AP" and "AP50" on sets of images drawn with replacement, the same sets for all detectors.
        answers: id of an image -> its detections, for the picture.
        cost: operations and seconds of an image.
    """

    name: str
    trained: Trained
    metrics: dict[str, float]
    resampled: dict[str, np.ndarray]
    answers: dict[str, Any]
    cost: DetectorCost


def contender(name: str, workdir: epath.Path, say: Any, ahead: dict[ProposalSpec | None, float]) -> Contender:
    """Loads and evaluates one detector; takes what its proposals take from `ahead`, which it completes: detectors with the
    same proposals pay the same for them.

    Raises:
        RunError: nothing that it is evaluated on counts.
    """
    trained = load(workdir)
    source, task = evaluated(trained), trained.task
    evaluation = evaluation_of(task, source, trained.config, trained.mesh)
    few = np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int).tolist()
    shown_ids = {source.ids[index] for index in few}
    answers: dict[str, Any] = {}

    def collect(examples, predictions):
        rows = {e.id: row for row, e in enumerate(examples) if e.id in shown_ids}
        answers.update({name: jax.tree.map(lambda x, row=row: x[row], predictions) for name, row in rows.items()})

    metrics, _ = evaluation.run(trained.params, trained.model_state, collect=collect)
    if math.isnan(metrics["AP"]):
        raise RunError(
            f"{workdir}: no object of {source.name} {source.split} counts, so there is nothing to compare. "
            f"python -m experiments.doctor --data={trained.config.data.source} tells what its annotations hold."
        )
    resampled = resampled_precisions(evaluation.evaluator.images, len(trained.info.classes))
    say(f"{name}: AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}")
    arguments = on_one_device(trained.params, trained.model_state, next(iter(evaluation.batches())).batch, 1)
    spec = task.inputs.proposals
    if spec not in ahead:
        ahead[spec] = proposal_seconds((source.read(index).image for index in few), spec)
    cost = detector_cost(name, task, arguments, ahead[spec])
    return Contender(name, trained, metrics, resampled, answers, cost)


def compare(workdirs: dict[str, epath.Path], folder: epath.Path, say: Any = print) -> str:
    """The report on trained runs: a table, how many times faster each is than the one before it, and which orders of
    precision are certain.

    Writes ladder.md, ladder.csv, ladder.png (what each finds in the same images) and ladder_seconds.png into `folder`.
    """
    ahead: dict[ProposalSpec | None, float] = {}
    contenders = [contender(name, workdir, say, ahead) for name, workdir in workdirs.items()]
    for each in contenders * ROUNDS:
        each.cost.measure()
    figures = [_figures(each) for each in contenders]
    quality = itertools.chain(*((name, "95 %") if name in INTERVALS else (name,) for name in METRICS))
    header = ("detector", "parameters", "GFLOP an image", *(f"{part}, ms" for part in PARTS), "in all, ms", *quality)
    table = markdown(header, [_row(each) for each in figures])
    report = "\n".join([table, "", *steps([each.cost for each in contenders]), *_differences(contenders)])
    write_ladder(folder, report, figures)
    sheets.write_png(folder / "ladder.png", _picture(contenders))
    sheets.write_png(folder / "ladder_seconds.png", draw_seconds({each.name: each.cost.split for each in contenders}))
    say(f"Written: {folder}/ladder.md, ladder.csv, ladder.png, ladder_seconds.png")
    return report


def _figures(each: Contender) -> dict[str, Any]:
    """One detector's row as plain numbers under one name each: what the CSV holds."""
    parameters, split = sum(leaf.size for leaf in jax.tree.leaves(each.trained.params)), each.cost.split
    figures: dict[str, Any] = {"detector": each.name, "parameters": parameters, "gflop_an_image": each.cost.gflops}
    figures |= {f"ms_{part.replace(' ', '_').replace('-', '_')}": split.get(part, 0.0) * 1e3 for part in PARTS}
    figures |= {"ms_an_image": each.cost.seconds * 1e3}
    for name in METRICS:
        figures[name] = each.metrics[name]
        if name in INTERVALS:
            figures[f"{name}_low"], figures[f"{name}_high"] = percentiles(each.resampled[name], 0.95)
    return figures


def _row(figures: dict[str, Any]) -> list[object]:
    """The same for the reader."""
    milliseconds = [f"{value:.3g}" if value else "–" for key, value in figures.items() if key.startswith("ms_")]
    quality = []
    for name in METRICS:
        quality.append(f"{figures[name]:.3f}")
        if name in INTERVALS:
            quality.append(f"{figures[f'{name}_low']:.3f} … {figures[f'{name}_high']:.3f}")
    return [figures["detector"], f"{figures['parameters']:,}", f"{figures['gflop_an_image']:.3g}", *milliseconds, *quality]


def _differences(contenders: list[Contender]) -> list[str]:
    """One line for each pair and metric: an order only where the interval of the difference excludes 0."""
    lines = []
    for metric, (a, b) in itertools.product(INTERVALS, itertools.combinations(contenders, 2)):
        low, high = percentiles(b.resampled[metric] - a.resampled[metric], 0.95)
        lines.append(order_line(metric, (a.name, a.metrics[metric]), (b.name, b.metrics[metric]), low, high))
    return lines


def _picture(contenders: list[Contender]) -> np.ndarray:
    """Rows: the truth, and what each detector finds, from a score of one half on."""
    source = evaluated(contenders[0].trained)
    columns = []
    for name in contenders[0].answers:
        example = source.read(source.ids.index(name))
        found = [shown(each.answers[name]) for each in contenders]
        truth = framed(example.image, example.objects.boxes, example.objects.labels)
        columns.append([truth, *(framed(example.image, answer.boxes, answer.labels) for answer in found)])
    return comparison(columns, ["truth", *(each.name for each in contenders)], contenders[0].trained.info.classes)
