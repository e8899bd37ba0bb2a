"""What stands in a page's tables: plain values, by the names that the template has for them."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnvision.evaluation.contributions import Contributions

from ..judged import Judged, judge, read, verdict_line
from .subject import Run, Subject

Row = dict[str, Any]

MOST_CLASSES, MOST_CONFUSED, MOST_PAIRS = 100, 20, 20
"""Rows of a table of classes; classes of a whole confusion matrix, and pairs that are listed where there are more."""

COSTS = {
    "parameters": "parameters",
    "gflop_an_image": "GFLOP an image",
    "memory_mib": "memory, MiB",
    "ms_an_image": "ms an image",
}
"""Columns of ladder.csv that are costs, in the words of the page; the last is drawn."""
STEP = "seconds a step"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What the finished runs of a subject tell.

    Attributes:
        judged: all metrics; compared: of them those that variants are compared by, the most important first.
        rows: `judged.rows()`.
        contributions: variant -> of its first seed, in the order of the images' ids; about: what stands beside it.
    """

    judged: Judged
    rows: Sequence[Row]
    compared: Sequence[str]
    contributions: Mapping[str, Contributions]
    about: Mapping[str, Mapping[str, Any]]


def evaluate(subject: Subject) -> Evaluated | None:
    """Judges the runs of a subject; None where none is finished. Raises RunError, as `judge` does."""
    if not subject.judged:
        return None
    first = {name: read(run.folder) for name, run in subject.shown.items()}
    compared = list(dict.fromkeys(metric for _, about in first.values() for metric in about["compared"]))
    of_classes = {metric: None for found, _ in first.values() for metric in found.metrics if "/" in metric}
    families = [[m for m in of_classes if m.startswith(f"{family}/")] for family in _families(of_classes)]
    metrics = [*compared, *itertools.chain(*(family for family in families if len(family) <= MOST_CLASSES))]
    folders = {name: {seed: run.folder for seed, run in of.items()} for name, of in subject.judged.items()}
    of_grid = subject.what != ""
    judged = judge(folders, subject.missing if of_grid else (), metrics, subject.wanted if of_grid else None)
    found, about = ({name: pair[i] for name, pair in first.items()} for i in (0, 1))
    return Evaluated(judged, judged.rows(), compared, found, about)


def _families(metrics: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(metric.split("/")[0] for metric in metrics))


def results(found: Evaluated, variants: Sequence[str]) -> list[Row]:
    """Of each compared metric its rows with intervals, where they lie on a common scale, and the verdicts."""
    tables = []
    for metric in found.compared:
        mine = [_with_interval(row, metric, variants) for row in found.rows if not math.isnan(row[metric])]
        verdicts = [(verdict_line(*each), each[2].better is not None) for each in found.judged.verdicts(metric)]
        told = [line for line, better in verdicts if better]
        others = [line for line, better in verdicts if not better]
        tables.append({"metric": metric, "rows": mine, "scale": _scaled(mine), "told": told, "others": others})
    return [table for table in tables if table["rows"]]


def _with_interval(row: Row, metric: str, variants: Sequence[str]) -> Row:
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    name = row["variant"]
    return {
        "variant": name, "place": variants.index(name), "seeds": row["seeds"], "value": row[metric], "low": low, "high": high
    }  # fmt: skip


def _scaled(rows: Sequence[Row]) -> tuple[float, float]:
    """Gives each row its places on a scale that holds all, and, as `whole`, from 0 to 1; returns the scale's ends."""
    values = [row[key] for row in rows for key in ("value", "low", "high") if not math.isnan(row[key])]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.04 * (high - low) or 0.01
    for row in rows:
        row["whole"] = {"place": row["place"]} | _places(row, 0.0, 1.0)
        row |= _places(row, low - room, high + room)
    return low - room, high + room


def _places(row: Row, low: float, high: float) -> Row:
    """`dot`, `left` and `right` in percent of a scale; None for what is not there."""
    share = lambda value: None if math.isnan(value) else round(min(max(100 * (value - low) / (high - low), 0.0), 100.0), 2)
    return {"dot": share(row["value"]), "left": share(row["low"]), "right": share(row["high"])}


def of_classes(found: Evaluated) -> list[Row]:
    """A table a family of metrics of single classes: of each class the value and interval of each variant."""
    rows = {row["variant"]: row for row in found.rows}
    single = [metric for metric in found.judged.metrics if "/" in metric]
    tables = []
    for family in _families(single):
        mine = [metric for metric in single if metric.startswith(f"{family}/")]
        cell = lambda row, name: {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
        cells = {metric: [cell(row, metric) for row in rows.values()] for metric in mine}
        classes = [{"name": metric.removeprefix(f"{family}/"), "cells": of} for metric, of in cells.items()]
        tables.append({"metric": family, "variants": list(rows), "classes": classes})
    return tables


def confusions(found: Evaluated, classes: Sequence[str]) -> list[Row]:
    """The confusion matrix of each variant's first seed, where it has one; of many classes the most frequent pairs."""
    tables = []
    for name, about in found.about.items():
        pixels = found.contributions[name].confusion
        counts = np.array(about.get("confusion", ())) if pixels is None else pixels.sum(axis=0)
        names = found.contributions[name].classes or classes
        if counts.ndim != 2 or len(counts) != len(names):
            continue
        columns = [*names, *["no class"][: counts.shape[1] - len(names)]]
        if len(columns) > len(names) and not counts[:, -1].any():
            counts, columns = counts[:, :-1], columns[:-1]
        table = {"variant": name, "columns": columns, "unit": "images" if pixels is None else "pixels"}
        total = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        if len(names) <= MOST_CONFUSED:
            table["rows"] = [
                {"name": each, "cells": [{"count": int(c), "share": float(s)} for c, s in zip(*pair, strict=True)]}
                for each, *pair in zip(names, counts, shares, strict=True)
            ]
        else:
            wrong = [(int(counts[i, j]), i, j) for i, j in np.argwhere(counts) if i != j]
            table["pairs"] = [
                {"true": names[i], "predicted": columns[j], "count": count, "share": float(shares[i, j])}
                for count, i, j in sorted(wrong, reverse=True)[:MOST_PAIRS]
            ]
        tables.append(table)
    return tables


def errors(found: Evaluated) -> Row | None:
    """The kinds of detections, in shares, of each variant's first seed; None where none tells."""
    rows = {name: about["errors"] for name, about in found.about.items() if about.get("errors")}
    if not rows:
        return None
    kinds = list(next(iter(rows.values())))
    cells = [{"variant": name, "shares": [_number(of.get(kind)) for kind in kinds]} for name, of in rows.items()]
    return {"kinds": kinds, "rows": cells}


def costs(subject: Subject) -> Row | None:
    """What each variant costs, as far as the folder knows: of a ladder its measurements, else the seconds of a step."""
    known = [name for name in subject.variants if name in subject.costs]
    if known:
        columns = [key for key in COSTS if all(subject.costs[name].get(key) for name in known)]
        rows = [{"variant": name, "values": [_number(subject.costs[name][key]) for key in columns]} for name in known]
        return {"columns": [COSTS[key] for key in columns], "rows": rows} if columns else None
    seconds = {name: step_seconds([run for run in subject.runs if run.variant == name]) for name in subject.variants}
    rows = [{"variant": name, "values": [value]} for name, value in seconds.items() if value is not None]
    return {"columns": [STEP], "rows": rows} if rows else None


def step_seconds(runs: Sequence[Run]) -> float | None:
    """The median of what the logs of some runs call the time of a step; None where they have none."""
    times = [entry["time/step"] for run in runs for entry in run.entries if entry.get("time/step") is not None]
    return statistics.median(times) if times else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
