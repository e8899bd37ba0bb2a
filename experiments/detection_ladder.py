"""What the ladder of detection compares: precision, what the proposals find, and where the seconds of an image go."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision import visualize
from cnnvision.captions import shown
from cnnvision.curves import draw_seconds
from cnnvision.data.subset import Subset
from cnnvision.errors import RunError
from cnnvision.overlays import comparison, framed
from cnnvision.task import ProposalSpec
from cnnvision.training.records import read_records
from experiments.costs import PARTS, DetectorCost, detector_cost, on_one_device, proposal_seconds, steps
from experiments.runs import Trained, evaluated, evaluation_of, load
from experiments.tables import markdown, write_ladder

METRICS = ("AP", "AP50", "APs", "APm", "APl", "proposal_recall")
SHOWN = 6
"""Images in the picture; on them proposals that are made ahead of the network are timed, too."""
ROUNDS = 5
"""Measurements of each program's time, in turns; the median counts."""


@dataclasses.dataclass
class Contender:
    """One detector. Attributes: name: in the table; trained: the network; metrics: of its evaluation; answers: id of an
    image -> its detections, for the picture; cost: operations and seconds of an image."""

    name: str
    trained: Trained
    metrics: dict[str, float]
    answers: dict[str, Any]
    cost: DetectorCost


def contender(name: str, workdir: epath.Path, say: Any, ahead: dict[ProposalSpec | None, float]) -> Contender:
    """Loads one detector; takes its metrics from its run, which has evaluated it, and what its proposals take from `ahead`,
    which it completes: detectors with the same proposals pay the same for them."""
    trained = load(workdir)
    source, task = evaluated(trained), trained.task
    few = Subset(source, np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int).tolist())
    evaluation = evaluation_of(task, few, trained.config, trained.mesh)
    answers: dict[str, Any] = {}

    def collect(examples, predictions):
        answers.update({e.id: jax.tree.map(lambda x, row=row: x[row], predictions) for row, e in enumerate(examples)})

    evaluation.run(trained.params, trained.model_state, collect=collect)
    metrics = recorded(workdir, trained.step)
    say(f"{name}: AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}")
    arguments = on_one_device(trained.params, trained.model_state, next(iter(evaluation.batches())).batch, 1)
    spec = task.inputs.proposals
    if spec not in ahead:
        ahead[spec] = proposal_seconds((few.read(index).image for index in range(len(few))), spec)
    return Contender(name, trained, metrics, answers, detector_cost(name, task, arguments, ahead[spec]))


def recorded(workdir: epath.Path, step: int) -> dict[str, float]:
    """The metrics of a run's evaluation at a step.

    Raises:
        RunError: its log has none.
    """
    for record in read_records(workdir):
        if (record["step"], record["split"]) == (step, "val"):
            return {name: math.nan if record[name] is None else record[name] for name in METRICS if name in record}
    raise RunError(f"{workdir}: metrics.jsonl has no evaluation at step {step}. Train it in another folder.")


def compare(workdirs: dict[str, epath.Path], folder: epath.Path, say: Any = print) -> str:
    """The report on trained runs: a table, and how many times faster each is than the one before it.

    Writes ladder.md, ladder.csv, ladder.png (what each finds in the same images) and ladder_seconds.png into `folder`.
    """
    ahead: dict[ProposalSpec | None, float] = {}
    contenders = [contender(name, workdir, say, ahead) for name, workdir in workdirs.items()]
    for each in contenders * ROUNDS:
        each.cost.measure()
    figures = [_figures(each) for each in contenders]
    header = ("detector", "parameters", "GFLOP an image", *(f"{part}, ms" for part in PARTS), "in all, ms", *METRICS)
    table = markdown(header, [_row(each) for each in figures])
    report = "\n".join([table, "", *steps([each.cost for each in contenders])])
    write_ladder(folder, report, figures)
    visualize.write_png(folder / "ladder.png", _picture(contenders))
    visualize.write_png(folder / "ladder_seconds.png", draw_seconds({each.name: each.cost.split for each in contenders}))
    say(f"Written: {folder}/ladder.md, ladder.csv, ladder.png, ladder_seconds.png")
    return report


def _figures(each: Contender) -> dict[str, Any]:
    """One detector's row as plain numbers under one name each: what the CSV holds."""
    parameters, split = sum(leaf.size for leaf in jax.tree.leaves(each.trained.params)), each.cost.split
    figures: dict[str, Any] = {"detector": each.name, "parameters": parameters, "gflop_an_image": each.cost.gflops}
    figures |= {f"ms_{part.replace(' ', '_').replace('-', '_')}": split.get(part, 0.0) * 1e3 for part in PARTS}
    return figures | {"ms_an_image": each.cost.seconds * 1e3} | {name: each.metrics[name] for name in METRICS}


def _row(figures: dict[str, Any]) -> list[object]:
    """The same for the reader."""
    milliseconds = [f"{value:.3g}" if value else "–" for key, value in figures.items() if key.startswith("ms_")]
    quality = [f"{figures[name]:.3f}" for name in METRICS]
    return [figures["detector"], f"{figures['parameters']:,}", f"{figures['gflop_an_image']:.3g}", *milliseconds, *quality]


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
