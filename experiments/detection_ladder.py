"""What the ladder of detection compares: precision, what the proposals find, and where the seconds of an image go."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision import visualize
from cnnvision.captions import shown
from cnnvision.curves import draw_seconds
from cnnvision.data.proposals import propose
from cnnvision.data.sources import open_source
from cnnvision.data.subset import Subset
from cnnvision.errors import RunError
from cnnvision.overlays import comparison, framed
from cnnvision.training.records import read_records
from cnnvision.types import Source
from experiments.costs import Cost, cost_of, on_one_device
from experiments.runs import Trained, evaluation_of, first, load
from experiments.tables import comma_separated, markdown

METRICS = ("AP", "AP50", "APs", "APm", "APl", "proposal_recall")
PARTS = ("proposals", "backbone", "RoI heads", "post-processing")
"""What an image's seconds are split into; where a network makes its own proposals, their part comes after the backbone."""
SHOWN = 6
"""Images in the picture."""
ROUNDS = 5
"""Measurements of each program's time, in turns; the median counts."""
PROPOSED = 5
"""Images on which proposals that are made ahead of the network are timed."""


@dataclasses.dataclass
class Contender:
    """One detector.

    Attributes:
        name: in the table.
        trained: the network; None where it is not.
        metrics: of its evaluation, if there was one.
        answers: id of an image -> its detections, for the picture.
        programs: name of a part -> the program up to its end, on one image; the last is the whole prediction.
        proposals: seconds an image of proposals that are made ahead of the network; 0 where it makes its own.
    """

    name: str
    trained: Trained | None
    metrics: dict[str, float]
    answers: dict[str, Any]
    programs: dict[str, Cost]
    proposals: float

    @property
    def split(self) -> dict[str, float]:
        """Seconds an image of each part that there is: programs up to its end and to the end of the part before differ by
        so much. They add up to the whole: no program that stops before the end counts for more than it."""
        seconds, before = {"proposals": self.proposals}, 0.0
        for name, cost in self.programs.items():
            until = min(max(cost.median, before), self.network_seconds)
            seconds[name] = seconds.get(name, 0.0) + until - before
            before = until
        return {name: seconds[name] for name in PARTS if seconds.get(name)}

    @property
    def seconds(self) -> float:
        """Of one image, in all."""
        return self.proposals + self.network_seconds

    @property
    def network_seconds(self) -> float:
        """Of one image, without proposals that are made ahead of the network."""
        return list(self.programs.values())[-1].median

    @property
    def gflops(self) -> float:
        """Of one image, on the network's side."""
        return list(self.programs.values())[-1].gflops


def evaluated(trained: Trained) -> Source:
    """The split that a run is evaluated on."""
    data = trained.config.data
    return first(open_source(data.source, data.eval_split, trained.info.classes), data.eval_examples)


def contender(name: str, workdir: epath.Path, say: Any) -> Contender:
    """Loads one detector; takes its metrics from its run, which has evaluated it."""
    trained = load(workdir)
    source, task = evaluated(trained), trained.task
    shown_too = Subset(source, np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int).tolist())
    evaluation = evaluation_of(task, shown_too, trained.config, trained.mesh)
    answers: dict[str, Any] = {}

    def collect(examples, predictions):
        answers.update({e.id: jax.tree.map(lambda x, row=row: x[row], predictions) for row, e in enumerate(examples)})

    evaluation.run(trained.params, trained.model_state, collect=collect)
    metrics = recorded(workdir, trained.step)
    say(f"{name}: AP {metrics['AP']:.4f}, AP50 {metrics['AP50']:.4f}")
    batch = next(iter(evaluation.batches())).batch
    arguments = on_one_device(trained.params, trained.model_state, batch, 1)
    parts = {**task.parts, "post-processing": task.predict}
    programs = {part: cost_of(function, arguments, 1) for part, function in parts.items()}
    return Contender(name, trained, metrics, answers, programs, proposal_seconds(source, task.inputs.proposals))


def recorded(workdir: epath.Path, step: int) -> dict[str, float]:
    """The metrics of a run's evaluation at a step.

    Raises:
        RunError: its log has none.
    """
    for record in read_records(workdir):
        if (record["step"], record["split"]) == (step, "val"):
            return {name: math.nan if record[name] is None else record[name] for name in METRICS if name in record}
    raise RunError(f"{workdir}: metrics.jsonl has no evaluation at step {step}. Train it in another folder.")


def proposal_seconds(source: Source, spec: Any) -> float:
    """Median seconds an image of proposals that are made ahead of a network; 0 for none."""
    if spec is None:
        return 0.0
    seconds = []
    for index in range(min(PROPOSED, len(source))):
        image, began = source.read(index).image, time.perf_counter()
        propose(image, spec)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def compare(workdirs: dict[str, epath.Path], folder: epath.Path, say: Any = print) -> str:
    """The report on trained runs: a table, and how many times faster each is than the one before it.

    Writes ladder.md, ladder.csv, ladder.png (what each finds in the same images) and ladder_seconds.png into `folder`.
    """
    contenders = [contender(name, workdir, say) for name, workdir in workdirs.items()]
    for _ in range(ROUNDS):
        for each in contenders:
            for cost in each.programs.values():
                cost.measure()
    figures = [_figures(each) for each in contenders]
    header = ("detector", "parameters", "GFLOP an image", *(f"{part}, ms" for part in PARTS), "in all, ms", *METRICS)
    table = markdown(header, [_row(each) for each in figures])
    report = "\n".join([table, "", *(steps(contenders))])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ladder.md").write_text(report + "\n")
    (folder / "ladder.csv").write_text(comma_separated(tuple(figures[0]), [tuple(each.values()) for each in figures]))
    visualize.write_png(folder / "ladder.png", _picture(contenders))
    visualize.write_png(folder / "ladder_seconds.png", draw_seconds({each.name: each.split for each in contenders}))
    say(f"Written: {folder}/ladder.md, ladder.csv, ladder.png, ladder_seconds.png")
    return report


def _figures(each: Contender) -> dict[str, Any]:
    """One detector's row as plain numbers under one name each: what the CSV holds."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(each.trained.params))
    figures: dict[str, Any] = {"detector": each.name, "parameters": parameters, "gflop_an_image": each.gflops}
    figures |= {f"ms_{part.replace(' ', '_').replace('-', '_')}": each.split.get(part, 0.0) * 1e3 for part in PARTS}
    return figures | {"ms_an_image": each.seconds * 1e3} | {name: each.metrics[name] for name in METRICS}


def _row(figures: dict[str, Any]) -> list[object]:
    """The same for the reader."""
    milliseconds = [f"{value:.3g}" if value else "–" for key, value in figures.items() if key.startswith("ms_")]
    quality = [f"{figures[name]:.3f}" for name in METRICS]
    return [figures["detector"], f"{figures['parameters']:,}", f"{figures['gflop_an_image']:.3g}", *milliseconds, *quality]


def steps(contenders: Sequence[Contender]) -> list[str]:
    """One line for each step of the ladder."""
    lines = []
    for before, each in itertools.pairwise(contenders):
        better = f"; AP {each.metrics['AP'] - before.metrics['AP']:+.3f}" if each.metrics else ""
        lines.append(
            f"- {each.name} after {before.name}: {before.seconds / each.seconds:.3g} times as fast with proposals, "
            f"{before.network_seconds / each.network_seconds:.3g} times without those that are made ahead; "
            f"{before.gflops / each.gflops:.3g} times fewer operations{better}"
        )
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
