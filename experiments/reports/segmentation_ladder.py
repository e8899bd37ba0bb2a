"""What the ladder of segmentation compares: quality with intervals, operations and seconds an image, and the answers."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision.data.augment.windows import all_tiles
from cnnvision.errors import RunError
from cnnvision.evaluation.bootstrap import difference_interval, metric_interval
from cnnvision.evaluation.segmentation import SegmentedImage
from cnnvision.models import make_task
from cnnvision.pictures import sheets
from cnnvision.pictures.overlays import comparison, tinted_map
from cnnvision.runs.configuration import from_json, to_json
from cnnvision.runs.join import evaluation_of
from cnnvision.runs.open import Trained, evaluated, load

from .costs import Cost, cost_of, on_one_device
from .tables import markdown, order_line, write_ladder

METRICS = ("mean_iou", "boundary_f")
"""What is compared, each with a 95 % interval."""
SHOWN = 6
"""Images in the picture."""
ROUNDS = 5
"""Measurements of each network's time, in turns; the median counts."""
FEW = 1
"""Rows of a batch on which the slowest way is measured, as often as the others."""


@dataclasses.dataclass
class Contender:
    """One network.

    Attributes:
        name: in the table.
        trained: the network.
        metrics: of its evaluation.
        images: what each image adds to the metrics, for intervals.
        answers: id of an image -> its class map, for the picture.
        tiles: of an image, on average.
        cost: operations and seconds of an image.
    """

    name: str
    trained: Trained
    metrics: dict[str, float]
    images: list[SegmentedImage]
    answers: dict[str, np.ndarray]
    tiles: float
    cost: Cost


def prediction_cost(trained: Trained, rows: int, batch: Any, tiles: float, **model: Any) -> Cost:
    """Compiles prediction on the first `rows` of a batch, `tiles` of which are an image; `model` sets keys of config.model
    (weights stay the same)."""
    config = to_json(trained.config)
    config["model"].update(model)
    task = make_task(from_json(config), trained.info)
    return cost_of(task.predict, on_one_device(trained.params, trained.model_state, batch, rows), rows / tiles)


def contender(name: str, workdir: epath.Path, say: Any) -> Contender:
    """Loads and evaluates one network.

    Raises:
        RunError: nothing that it is evaluated on counts.
    """
    trained = load(workdir)
    source = evaluated(trained)
    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh)
    shown = {source.ids[i] for i in np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int)}
    answers: dict[str, np.ndarray] = {}

    def collect(examples, predictions):
        answers.update({e.id: found for e, found in zip(examples, predictions.labels, strict=True) if e.id in shown})

    metrics, _ = evaluation.run(trained.params, trained.model_state, collect=collect)
    if math.isnan(metrics["mean_iou"]):
        raise RunError(
            f"{workdir}: no pixel of {source.name} {source.split} counts, so there is nothing to compare. "
            f"python -m experiments.doctor --data={trained.config.data.source} tells what its maps hold."
        )
    say(f"{name}: mean_iou {metrics['mean_iou']:.4f}, boundary_f {metrics['boundary_f']:.4f}")
    batch = next(iter(evaluation.batches())).batch
    spec = trained.task.inputs
    tiles = len(all_tiles(source, spec)) / len(source) if spec.resize == "tile" else 1.0
    cost = prediction_cost(trained, len(batch.valid), batch, tiles)
    return Contender(name, trained, metrics, evaluation.evaluator.images, answers, tiles, cost)


def compare(workdirs: dict[str, epath.Path], folder: epath.Path, say: Any = print) -> str:
    """The report on trained runs: a table with 95 % intervals over images, which orders are certain, and two ways of the
    patch classifier. Writes ladder.md, ladder.csv and ladder.png into `folder`.
    """
    contenders = [contender(name, workdir, say) for name, workdir in workdirs.items()]
    slow = next((_window_by_window(each) for each in contenders if each.trained.config.model.name == "patchnet"), None)
    for cost in [*(each.cost for each in contenders), *[slow] * bool(slow)] * ROUNDS:
        cost.measure()
    figures = [_figures(each) for each in contenders]
    header = ("network", "parameters", "GFLOP an image", "ms an image", "mean_iou", "95 %", "boundary_f", "95 %")
    lines = [markdown(header, [_row(each) for each in figures]), "", *_differences(contenders)]
    if slow:
        dense = next(each for each in contenders if each.trained.config.model.name == "patchnet")
        lines.append(
            f"- {dense.name}, window by window instead of densely: {slow.gflops:.4g} GFLOP and {slow.median:.3g} s an "
            f"image (median of {len(slow.seconds)}), {slow.gflops / dense.cost.gflops:.0f} and "
            f"{slow.median / dense.cost.median:.0f} times as much."
        )
    report = "\n".join(lines)
    write_ladder(folder, report, figures)
    sheets.write_png(folder / "ladder.png", _picture(contenders))
    say(f"Written: {folder}/ladder.md, ladder.csv, ladder.png")
    return report


def _window_by_window(dense: Contender) -> Cost:
    batch = dense.cost.arguments[-1]
    return prediction_cost(dense.trained, min(FEW, len(batch.valid)), batch, dense.tiles, run="patches")


def _figures(each: Contender) -> dict[str, Any]:
    """One network's row as plain numbers under one name each: what the CSV holds."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(each.trained.params))
    figures = {
        "network": each.name,
        "parameters": parameters,
        "gflop_an_image": each.cost.gflops,
        "ms_an_image": each.cost.median * 1e3,
    }
    for metric in METRICS:
        low, high = metric_interval(each.images, metric)
        figures |= {metric: each.metrics[metric], f"{metric}_low": low, f"{metric}_high": high}
    return figures


def _row(figures: dict[str, Any]) -> list[object]:
    """The same for the reader."""
    row: list[object] = [figures["network"], f"{figures['parameters']:,}"]
    row += [f"{figures['gflop_an_image']:.2f}", f"{figures['ms_an_image']:.1f}"]
    for metric in METRICS:
        row += [figures[metric], f"{figures[f'{metric}_low']:.3f} … {figures[f'{metric}_high']:.3f}"]
    return row


def _differences(contenders: list[Contender]) -> list[str]:
    """One line for each pair and metric: an order only where the interval of the difference excludes 0."""
    lines = []
    for metric, (a, b) in itertools.product(METRICS, itertools.combinations(contenders, 2)):
        low, high = difference_interval(b.images, a.images, metric)
        lines.append(order_line(metric, (a.name, a.metrics[metric]), (b.name, b.metrics[metric]), low, high))
    return lines


def _picture(contenders: list[Contender]) -> np.ndarray:
    """Rows: the images, the truth, and what each network answers."""
    trained = contenders[0].trained
    source = evaluated(trained)
    columns = []
    for name in contenders[0].answers:
        example = source.read(source.ids.index(name), masks=True)
        maps = [example.semantic, *(each.answers[name] for each in contenders)]
        columns.append([example.image, *(tinted_map(example.image, labels) for labels in maps)])
    return comparison(columns, ["image", "truth", *(each.name for each in contenders)], trained.info.semantic_classes)
