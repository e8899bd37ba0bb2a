"""Plots as SVG that stands in a page: its text and axes have the page's colour, its lines those of the variants."""

import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .subject import Run

COLOURS = 8
"""Colours of variants that the style sheet has, --v0 and so on; further variants have them again, with other dashes."""
DASHES = ("-", "--", ":", "-.")
MARKERS, GLYPHS = "osD^vPX*", "●■◆▲▼✚✖★"
"""Of variants: in a plot, and the same as letters."""
INK = "#abcdef"
"""Stands for the page's own colour, until the SVG is in it."""
MOST_POINTS = 200
"""Of a line."""
NOT_QUALITY = ("learning_rate", "gradient_norm", "images", "score_threshold", "examples_failed", "objects_dropped")

Series = Mapping[str, Sequence[Sequence[tuple[float, float]]]]
"""Variant -> the line of each of its seeds: (x, y), …"""


class Plot(NamedTuple):
    """Attributes: title: above it; alt: what it shows, in words; svg: safe to stand in a page."""

    title: str
    alt: str
    svg: str


def ink(variant: int) -> str:
    """The colour of a variant, as it is in a plot until the SVG is in its page."""
    return f"#abc0{variant % COLOURS:02x}"


def drawn(title: str, alt: str, draw: Callable[[Any], None], size: tuple[float, float] = (4.2, 2.7)) -> Plot:
    """A plot of `draw(axes)`; `size` in inches."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    colours = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    settings = {"svg.fonttype": "none", "svg.hashsalt": title + alt, "text.parse_math": False, "font.size": 8}
    settings |= dict.fromkeys(colours, INK) | {"axes.formatter.useoffset": False, "axes.formatter.limits": (-3, 5)}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size)
        figure.subplots_adjust(0.16, 0.17, 0.97, 0.94)
        axes = figure.add_subplot(1, 1, 1)
        for patch in (figure.patch, axes.patch):
            patch.set_visible(False)
        axes.grid(alpha=0.2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.locator_params(nbins=5)
        draw(axes)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    return Plot(title, alt, _inline(buffer.getvalue()))


def _inline(svg: str) -> str:
    """A file's SVG as a part of a page: no prolog, no size of its own, no names that another one has, the page's colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version|xmlns(:\w+)?)="[^"]*"', "", head)
    rest = re.sub(r'<g id="[^"]*"', "<g", rest).replace("xlink:href", "href")
    rest = re.sub(r"#abc0([0-9a-f]{2})", lambda match: f"var(--v{int(match[1], 16)})", rest).replace(INK, "currentColor")
    rest = re.sub(r"font: [^;\"]*;?", "", rest)  # the style sheet's
    return f'{head} aria-hidden="true">{rest}'


def curves(runs: Sequence[Run], variants: Sequence[str], compared: Sequence[str]) -> list[Plot]:
    """The losses, and the metrics that are compared, by step; of several seeds each thin, and their mean."""
    known = {(entry["split"], name): None for run in runs for entry in run.entries for name in entry}
    evaluated = [name for split, name in known if split == "val" and _quality(name)]
    trained = [name for split, name in known if split == "train" and _quality(name)]
    chosen = [name for name in compared if name in evaluated] or evaluated[:6]
    panels = [("loss", "train"), ("loss", "val"), *((name, "val") for name in chosen)]
    panels += [(name, "train") for name in trained[:4] if not chosen]
    return [plot for name, split in panels if (plot := _curve(runs, variants, name, split))]


def _quality(name: str) -> bool:
    return "/" not in name and name not in (*NOT_QUALITY, "loss", "step", "split")


def _curve(runs: Sequence[Run], variants: Sequence[str], name: str, split: str) -> Plot | None:
    series: dict[str, list[list[tuple[float, float]]]] = {variant: [] for variant in variants}
    for run in runs:
        line = [(e["step"], e[name]) for e in run.entries if e["split"] == split and e.get(name) is not None]
        if line:
            series[run.variant].append(sorted(line))
    longest = max((len(line) for lines in series.values() for line in lines), default=0)
    if longest < (2 if split == "val" else 1):  # what is evaluated once stands in the tables
        return None
    last = [f"{variant} {mean(lines)[-1][1]:.4g}" for variant, lines in series.items() if lines and mean(lines)]
    alt = f"{name} on {split} by step. Last: {', '.join(last)}."

    def draw(axes):
        for place, lines in enumerate(series.values()):
            if len(lines) > 1:
                for line in lines:
                    axes.plot(*_columns(line), color=ink(place), linewidth=0.6, alpha=0.45)
            _line(axes, mean(lines), place)
        axes.set_xlabel("step")
        axes.xaxis.get_major_locator().set_params(integer=True)

    return drawn(f"{name} ({split})", alt, draw)


def mean(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of several lines, at the steps that all of them have."""
    values: dict[float, list[float]] = {}
    for x, y in itertools.chain(*lines):
        values.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(values.items()) if len(ys) == len(lines)]


def _line(axes: Any, line: Sequence[tuple[float, float]], place: int) -> None:
    """A variant's line, told from others by its marks, too."""
    xs, ys = _columns(line)
    marks = {"marker": MARKERS[place % len(MARKERS)], "markersize": 4, "markevery": (len(xs) // 16, max(1, len(xs) // 8))}
    axes.plot(xs, ys, color=ink(place), linewidth=1.6, linestyle=DASHES[place // COLOURS % len(DASHES)], **marks)


def _columns(line: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    stride = -(-len(line) // MOST_POINTS)
    kept = [*line[:-1:stride], *line[-1:]] if stride > 1 else line
    return [x for x, _ in kept], [y for _, y in kept]


def precision_recall(matches: Mapping[str, Sequence[Any]], classes: Sequence[str], most: int = 12) -> list[Plot]:
    """Precision over recall at an IoU of .5 of each class, a line a variant.

    Args:
        matches: variant -> `Matches` of each class (cnnvision/evaluation/coco.py).
        classes: names.
        most: classes that are drawn: those with the most objects.
    """
    objects = [float(each.objects.sum()) for each in next(iter(matches.values()))]
    chosen = sorted(sorted(range(len(classes)), key=lambda k: -objects[k])[:most])
    return [_precision_recall(matches, k, classes[k]) for k in chosen if objects[k]]


def _precision_recall(matches: Mapping[str, Sequence[Any]], label: int, name: str) -> Plot:
    def draw(axes):
        for place, of_variant in enumerate(matches.values()):
            _line(axes, recall_curve(of_variant[label]), place)
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision")

    return drawn(name, f"Precision over recall of {name} at an IoU of 0.5.", draw, (3.2, 2.5))


def recall_curve(matches: Any) -> list[tuple[float, float]]:
    """(recall, precision) after each detection of a class at an IoU of .5, the best first."""
    from cnnvision.evaluation.coco import HALF

    right, wrong = np.cumsum(matches.right[HALF]), np.cumsum(matches.wrong[HALF])
    counted = right + wrong > 0
    total = max(float(matches.objects.sum()), 1.0)
    return list(zip((right / total)[counted].tolist(), (right / (right + wrong).clip(1))[counted].tolist(), strict=True))


def cost(points: Iterable[tuple[int, str, float, float, float, float]], unit: str, metric: str) -> Plot:
    """Quality over cost.

    Args:
        points: (place of the variant, its name, cost, metric, ends of its interval).
        unit: of the cost; metric: its name.
    """
    points = list(points)
    alt = f"{metric} over {unit}: " + ", ".join(f"{name} {y:.3f} at {x:.3g}" for _, name, x, y, *_ in points) + "."

    def draw(axes):
        for place, _, x, y, low, high in points:
            axes.plot([x, x], [low, high], color=ink(place), linewidth=1.4)
            axes.plot([x], [y], MARKERS[place % len(MARKERS)], color=ink(place), markersize=6)
        xs = [x for _, _, x, *_ in points]
        if max(xs) > 5 * min(xs) > 0:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if max(xs) < 20 * min(xs) else "")
        axes.margins(x=0.1)
        axes.set(xlabel=unit, ylabel=metric)

    return drawn(f"{metric} over {unit}", alt, draw)
