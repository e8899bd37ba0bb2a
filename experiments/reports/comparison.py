"""Compares trained runs of any task on the same data: quality with intervals, cost, and where the seconds of an image go."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision.evaluation.detection_errors import confident
from cnnvision.pictures import drawing, overlays, sheets
from cnnvision.pictures.curves import draw_seconds, draw_shares
from cnnvision.runs.join import names_of
from cnnvision.runs.open import evaluated
from cnnvision.types import DetectionPrediction, InstancePrediction, SegmentationPrediction

from .contenders import Contender, contender, variant
from .costs import Cost, parts_of, speed_orders, steps
from .judged import Judged, judge
from .tables import markdown, write_ladder

ROUNDS, FEWER = 25, 5
"""Measurements of each program's time, in turns, and those of variants among them; the median counts."""

Variants = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Name of a contender -> another way to compute the same prediction: its name, and the keys of config.model that it sets."""


@dataclasses.dataclass
class Comparison:
    """A table, which orders are certain, and pictures.

    Attributes:
        contenders: evaluated on the same images.
        judged: their metrics over seeds and images, by the contenders' names.
        variants: name of a contender -> the measured cost of another way to compute its prediction.
    """

    contenders: list[Contender]
    judged: Judged
    variants: dict[str, Cost] = dataclasses.field(default_factory=dict)

    @property
    def compared(self) -> list[str]:
        """The metrics that any of the contenders has."""
        return list(dict.fromkeys(metric for each in self.contenders for metric in each.compared))

    @property
    def resampled(self) -> list[str]:
        """Of them, those with intervals."""
        return [metric for metric in self.compared if self.judged.metrics.get(metric) and self.judged.judged(metric)]

    @property
    def parts(self) -> list[str]:
        """Where the contenders' seconds go."""
        return parts_of(each.cost for each in self.contenders)

    def figures(self, each: Contender) -> dict[str, Any]:
        """A row as plain numbers, by the names of the CSV's columns."""
        kind = "detector" if each.trained.task.inputs.target == "objects" else "network"
        parameters, split = sum(leaf.size for leaf in jax.tree.leaves(each.trained.params)), each.cost.split
        whole, figures = each.cost.whole, {kind: each.name, "parameters": parameters, "gflop_an_image": each.cost.gflops}
        figures |= {"memory_mib": whole.memory, "compile_seconds": whole.compile_seconds}
        for part in self.parts:
            figures[f"ms_{part.replace(' ', '_').replace('-', '_')}"] = split.get(part, 0.0) * 1e3
        figures["ms_an_image"] = each.cost.seconds * 1e3
        for metric in self.compared:
            over_seeds = each.name in self.judged.metrics.get(metric, ())
            figures[metric] = self.judged.mean(metric, each.name) if over_seeds else each.metrics.get(metric, math.nan)
            if metric in self.resampled:
                estimate = self.judged.estimates(metric).get(each.name)
                figures[f"{metric}_low"], figures[f"{metric}_high"] = estimate.interval() if estimate else (math.nan,) * 2
        kinds = dict.fromkeys(kind for each in self.contenders for kind in each.errors)
        return figures | {f"errors_{kind.replace(' ', '_')}": each.errors.get(kind, math.nan) for kind in kinds}

    def table(self, rows: list[dict[str, Any]]) -> str:
        """The rows of `figures` for the reader; "–" for a part or a metric that a contender does not have."""
        number = lambda value, form, absent: "–" if absent else format(value, form)
        cells = []
        rows = [{key: value for key, value in row.items() if not key.startswith("errors_")} for row in rows]
        for row in rows:
            name, parameters, gflops, memory, compiling, *rest = row.items()
            cells.append([name[1], f"{parameters[1]:,}", f"{gflops[1]:.3g}", f"{memory[1]:.3g}", f"{compiling[1]:.3g}"])
            cells[-1] += [number(value, ".3g", not value) for key, value in rest if key.startswith("ms_")]
            for metric in self.compared:
                cells[-1].append(number(row[metric], ".3f", math.isnan(row[metric])))
                if metric in self.resampled:
                    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
                    cells[-1].append("–" if math.isnan(low) else f"{low:.3f} … {high:.3f}")
        quality = itertools.chain(*((name, "95 %") if name in self.resampled else (name,) for name in self.compared))
        parts = (f"{part}, ms" for part in self.parts)
        first = (next(iter(rows[0])), "parameters", "GFLOP an image", "memory, MiB", "compile, s")
        return markdown((*first, *parts, "ms an image", *quality), cells)

    def errors_table(self) -> str:
        """The kinds of each detector's best detections, in shares, and how many objects none of them found."""
        judged = [each for each in self.contenders if each.errors]
        if not judged:
            return ""
        kinds = list(judged[0].errors)
        rows = [[each.name, *(f"{each.errors[kind]:.3f}" for kind in kinds)] for each in judged]
        said = "Of each class as many detections as it has objects, those with the highest scores; missed: of the objects."
        return "\n".join(["", said, "", markdown(("detector", *kinds), rows)])

    def other_ways(self) -> list[str]:
        """One line for each variant."""
        costs = {each.name: each.cost for each in self.contenders}
        return [
            f"- {name}, {other.name}: {other.gflops:.4g} GFLOP and {other.seconds:.3g} s an image (median of {FEWER}), "
            f"{other.gflops / costs[name].gflops:.0f} and {other.seconds / costs[name].seconds:.0f} times as much."
            for name, other in self.variants.items()
        ]

    def picture(self) -> np.ndarray:
        """Rows: the images with their annotations (of maps the images first), and every contender's predictions."""
        trained, classes = self.contenders[0].trained, classes_of(self.contenders[0])
        source, maps = evaluated(trained), trained.task.inputs.target == "semantic"
        columns = []
        for id_ in self.contenders[0].predictions:
            example = source.read(source.ids.index(id_), masks="semantic" if maps else False)
            truth, objects = [example.image], example.objects
            if maps:
                truth.append(drawn(example.image, SegmentationPrediction(example.semantic), classes))
            elif objects is not None:
                truth = [overlays.framed(example.image, objects.boxes, objects.labels)]
            found = ((each.predictions[id_], each.metrics.get("score_threshold", 0.5)) for each in self.contenders)
            columns.append([*truth, *(drawn(example.image, confident(*pair), classes) for pair in found)])
        names = ["image"] * maps + ["truth"] + [each.name for each in self.contenders]
        colours = [overlays.class_of_map(k, classes) if maps else (c, drawing.colour(k)) for k, c in enumerate(classes)]
        return overlays.comparison(columns, names, colours)

    def write(self, folder: epath.Path, say: Any = print) -> str:
        """Writes ladder.md, .csv and .png, with parts ladder_seconds.png, and of detectors ladder_errors.png; returns the
        report."""
        rows, costs = [self.figures(each) for each in self.contenders], [each.cost for each in self.contenders]
        lines = [
            *(steps(costs) if self.parts else ()),
            *speed_orders(costs),
            *self.judged.lines(self.resampled),
            *self.other_ways(),
        ]
        report = "\n".join([self.table(rows), self.errors_table(), "", self.judged.note, "", *lines])
        write_ladder(folder, report, rows)
        sheets.write_png(folder / "ladder.png", self.picture())
        written = ["ladder.md", "ladder.csv", "ladder.png"]
        if self.parts:
            seconds = {each.name: {part: each.split[part] for part in self.parts if part in each.split} for each in costs}
            sheets.write_png(folder / "ladder_seconds.png", draw_seconds(seconds))
            written.append("ladder_seconds.png")
        errors = {each.name: each.errors for each in self.contenders if each.errors}
        if errors:
            sheets.write_png(folder / "ladder_errors.png", draw_shares(errors))
            written.append("ladder_errors.png")
        say(f"Written: {folder}/{', '.join(written)}")
        return report


def classes_of(each: Contender) -> tuple[str, ...]:
    """Names of the classes that a contender predicts."""
    return names_of(each.trained.task, each.trained.info)


def drawn(image: np.ndarray, prediction: Any, classes: tuple[str, ...]) -> np.ndarray:
    """An image with one prediction in its pixels: maps as tints, detections as frames and masks, others with a caption."""
    if isinstance(prediction, SegmentationPrediction):
        return overlays.tinted_map(image, prediction.labels, background=overlays.background_of(classes))
    if isinstance(prediction, InstancePrediction):
        image = overlays.masked(image, prediction, 1, classes, width=1)
    if isinstance(prediction, DetectionPrediction):
        return overlays.framed(image, prediction.boxes[prediction.valid], prediction.labels[prediction.valid])
    return sheets.annotate(image, classes, prediction)


def compare(runs: Mapping[str, Mapping[int, epath.Path]], variants: Variants, folder: epath.Path, say: Any = print) -> str:
    """Judges and measures trained runs, and writes their comparison into `folder`; returns the report.

    Args:
        runs: name of a contender -> seed -> run folder; the first one of each is measured and drawn.
        variants: measured, too, where their contenders are among these.
        folder: where files are written.
        say: prints a line.
    """
    judged, ahead = judge(runs), {}
    contenders = [contender(name, next(iter(of_seeds.values())), say, ahead) for name, of_seeds in runs.items()]
    others = {each.name: variant(each, *variants[each.name]) for each in contenders if each.name in variants}
    comparison = Comparison(contenders, judged, others)
    for turn in range(ROUNDS):
        for cost in [*(each.cost for each in contenders), *(others.values() if turn < FEWER else ())]:
            cost.measure()
    return comparison.write(folder, say)
