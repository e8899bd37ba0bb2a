"""Curves: of learning, from the entries of a run, and of precision over recall."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnvision.pictures import drawing

COLUMNS = 3
STYLES = {"train": {"linewidth": 1.2, "alpha": 0.9}, "val": {"linewidth": 1.8, "marker": "o", "markersize": 3.5}}
COUNTS = ("images", "examples_failed", "objects_dropped")
COLOURS = {"train": "#4c78a8", "val": "#e45756"}


def draw_curves(entries: Sequence[dict[str, Any]]) -> np.ndarray:
    """Draws every metric of a run over its steps: a panel for each metric, with all its splits.

    Metrics named after another one (``accuracy/ring`` beside ``accuracy``) share one panel.

    Args:
        entries: objects with `step`, `split` and values by name, as in metrics.jsonl; a value may be None or NaN.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ValueError: there is not one value to draw.
    """
    # Not pyplot: it keeps figures and a backend for the whole process, which belong to whoever runs the notebook.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = _series(entries)
    if not series:
        raise ValueError("curves: the entries hold no value")
    panels = _panels(series)
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = 4.4 * columns, 3.0 * rows
    figure = Figure(figsize=(width, height), dpi=110)
    # Margins by hand, in inches: matplotlib's own layout would draw everything twice, which takes seconds.
    figure.subplots_adjust(0.6 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height, wspace=0.2, hspace=0.35)
    canvas = FigureCanvasAgg(figure)
    for i, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        for j, name in enumerate(names):
            for split, points in series[name].items():
                short = name.removeprefix(title.removesuffix("…"))
                label = split if len(names) == 1 else f"{short} {split}" if len(series[name]) > 1 else short
                ink = COLOURS.get(split, "#54a24b") if len(names) == 1 else _hex(drawing.colour(j))
                style = dict(STYLES.get(split, STYLES["val"]))
                if len(names) > 1 and split == "train":
                    style["linestyle"] = ":"
                axes.plot(*zip(*points, strict=True), label=label, color=ink, **style)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, ncols=1 + (len(axes.lines) > 8), framealpha=0.7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_precision_recall(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws precision over recall, a line for each class.

    Args:
        curves: name of a class -> (precision, recall) after each detection, the best first; NaN recall, of a class without
            objects, draws nothing.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.6), dpi=110)
    figure.subplots_adjust(0.1, 0.12, 0.97, 0.93)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot(1, 1, 1)
    for k, (name, (precision, recall)) in enumerate(curves.items()):
        if len(recall) and np.isfinite(recall).all():
            axes.plot(recall, precision, label=name, color=_hex(drawing.colour(k)), linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title("IoU 0.5", fontsize=11)
    axes.grid(alpha=0.25)
    if len(axes.lines):
        axes.legend(fontsize=8, ncols=1 + (len(axes.lines) > 12), framealpha=0.7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_seconds(seconds: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Draws how long each of several systems takes and where, as bars on a logarithmic axis.

    Args:
        seconds: name of a system -> name of a part -> its seconds; parts of 0 are left out.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys(part for of_system in seconds.values() for part in of_system))
    rows = [
        ("" if part else name, part, value)
        for name, of_system in seconds.items()
        for part, value in [("", sum(of_system.values())), *of_system.items()]
        if value > 0
    ]
    values = [value for *_, value in rows] or [1.0]
    figure = Figure(figsize=(7.0, 0.8 + 0.24 * len(rows)), dpi=110)
    figure.subplots_adjust(0.24, 0.5 / figure.get_figheight(), 0.97, 0.98)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot(1, 1, 1)
    least = min(values) / 3
    for i, (_, part, value) in enumerate(rows):
        ink = _hex(drawing.colour(parts.index(part))) if part else "#444444"
        axes.barh(i, value - least, left=least, color=ink, height=0.6 if part else 0.85)
        axes.text(value * 1.1, i, f"{part or 'in all'} {_duration(value)}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xscale="log", xlim=(least, 12 * max(values)), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel("seconds an image", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_shares(shares: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Draws how the detections of each of several systems are divided among kinds, as stacked bars.

    Args:
        shares: name of a system -> kind -> share; "missed" is of the objects, and drawn as a mark.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = [kind for kind in next(iter(shares.values())) if kind != "missed"]
    figure = Figure(figsize=(7.0, 1.3 + 0.36 * len(shares)), dpi=110)
    figure.subplots_adjust(0.2, 0.5 / figure.get_figheight(), 0.97, 1 - 0.65 / figure.get_figheight())
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot(1, 1, 1)
    left = np.zeros(len(shares))
    for i, kind in enumerate(kinds):
        values = np.nan_to_num([of_system[kind] for of_system in shares.values()])
        axes.barh(range(len(shares)), values, left=left, height=0.7, color=_hex(drawing.colour(i)), label=kind)
        for row, value in enumerate(values):
            if value >= 0.04:
                axes.text(left[row] + value / 2, row, f"{value:.2f}", ha="center", va="center", fontsize=7)
        left += values
    missed = [of_system["missed"] for of_system in shares.values()]
    axes.plot(missed, range(len(shares)), "k|", markersize=16, markeredgewidth=2, label="missed objects")
    axes.set_yticks(range(len(shares)), list(shares), fontsize=9)
    axes.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("share of the best detections, as many as there are objects", fontsize=9)
    axes.legend(fontsize=7, ncols=6, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False, columnspacing=1.0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _series(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """name -> split -> [(step, value), …], in order of steps."""
    series: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for entry in sorted(entries, key=lambda entry: entry["step"]):
        for name, value in entry.items():
            if name in ("step", "split") or value is None or not math.isfinite(value):
                continue
            series.setdefault(name, {}).setdefault(entry["split"], []).append((entry["step"], value))
    return series


def _panels(series: dict[str, Any]) -> dict[str, list[str]]:
    """Title -> the metrics of that panel: "a/b" goes to "a/…" where "a" is a metric, all others stand alone.

    What is evaluated comes first, then what is known of training alone (learning rate, times). Counts that never change
    are left out.
    """
    panels: dict[str, list[str]] = {}
    for name in sorted(series, key=lambda name: set(series[name]) == {"train"}):
        if name in COUNTS and len({value for points in series[name].values() for _, value in points}) == 1:
            continue
        family = name.rsplit("/", 1)[0] if "/" in name else ""
        panels.setdefault(f"{family}/…" if family in series else name, []).append(name)
    return panels


def _hex(ink: drawing.Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*ink)
