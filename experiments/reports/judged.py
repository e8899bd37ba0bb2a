"""Runs of several variants and seeds, judged: each metric with its interval, and a verdict on each pair of variants."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from cnnvision.errors import RunError
from cnnvision.evaluation import contributions
from cnnvision.evaluation.bootstrap import resamples
from cnnvision.evaluation.contributions import ROUNDS, Contributions
from cnnvision.evaluation.verdicts import Estimate, Verdict, estimate, verdicts
from cnnvision.installation import typed
from cnnvision.settings import check_name
from cnnvision.storage import write_whole
from cnnvision.training.evaluate import CONTRIBUTIONS

from .tables import comma_separated, latex, markdown


@dataclasses.dataclass(frozen=True)
class Judged:
    """Variants on the same images.

    Attributes:
        seeds: variant -> those that are there, in order.
        wanted: seeds that a variant must have to be judged; where there is one, any other will do, too.
        metrics: metric -> variant -> value of each of its seeds; NaN where it is not defined.
        drawn: metric -> variant -> the same on drawn sets of images, [seeds, sets].
        images: how many there are.
        missing: lines on what is not there or not at its end.
    """

    seeds: Mapping[str, Sequence[int]]
    wanted: Sequence[int]
    metrics: Mapping[str, Mapping[str, np.ndarray]]
    drawn: Mapping[str, Mapping[str, np.ndarray]]
    images: int
    missing: Sequence[str] = ()

    @property
    def variants(self) -> list[str]:
        """By name, in order."""
        return list(self.seeds)

    def judged(self, metric: str) -> list[str]:
        """The variants with a verdict: the metric is defined for each of their seeds, and none of the seeds is missing."""
        there = lambda name: list(self.seeds[name]) == list(self.wanted) or len(self.seeds[name]) == len(self.wanted) == 1
        return [name for name, values in self.metrics[metric].items() if there(name) and not np.isnan(values).any()]

    def verdicts(self, metric: str) -> list[tuple[str, str, Verdict]]:
        """(one, other, what is told of the other minus the one) of each pair that is judged."""
        names = self.judged(metric)
        if len(names) < 2:
            return []
        found = verdicts(*self._stacked(metric, names), self.images)
        return [(names[each.first], names[each.second], each) for each in found]

    def estimates(self, metric: str) -> dict[str, Estimate]:
        """Variant -> the metric with its uncertainty; of variants that are judged."""
        names = self.judged(metric)
        values, drawn = self._stacked(metric, names) if names else (None, None)
        return {name: estimate(values, drawn, index, self.images) for index, name in enumerate(names)}

    def _stacked(self, metric: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.stack([values[metric][name] for name in names]) for values in (self.metrics, self.drawn))

    def mean(self, metric: str, variant: str) -> float:
        """Over the seeds that are there."""
        values = self.metrics[metric].get(variant, np.full(1, np.nan))
        return float(values.mean()) if len(values) else math.nan

    def rows(self) -> list[dict[str, Any]]:
        """A row of plain numbers a variant, by the names of the CSV's columns."""
        estimates = {metric: self.estimates(metric) for metric in self.metrics}
        rows = []
        for name in self.variants:
            row: dict[str, Any] = {"variant": name, "seeds": len(self.seeds[name])}
            for metric, of_variants in estimates.items():
                low, high = of_variants[name].interval() if name in of_variants else (math.nan, math.nan)
                row |= {metric: self.mean(metric, name), f"{metric}_low": low, f"{metric}_high": high}
            rows.append(row)
        return rows

    def table(self, form: Any = markdown) -> str:
        """The rows for the reader, in Markdown or LaTeX (`tables.latex`): each metric with its interval."""
        of = lambda value: "–" if math.isnan(value) else f"{value:.3f}"
        header = ("variant", "seeds", *itertools.chain(*((metric, "95 %") for metric in self.metrics)))
        cells = []
        for row in self.rows():
            cells.append([row["variant"], row["seeds"]])
            for metric in self.metrics:
                low, high = row[f"{metric}_low"], row[f"{metric}_high"]
                cells[-1] += [of(row[metric]), "–" if math.isnan(low) else f"{low:.3f} … {high:.3f}"]
        return form(header, cells)

    def lines(self, metrics: Sequence[str] | None = None) -> list[str]:
        """A verdict a line, of all metrics or of some."""
        return [
            f"- {metric}: {verdict_line(*each)}"
            for metric in (self.metrics if metrics is None else metrics)
            for each in self.verdicts(metric)
        ]

    @property
    def note(self) -> str:
        """What the verdicts rest on."""
        seeds = len(self.wanted)
        if seeds == 1:
            return (
                f"One seed on {self.images} images: intervals and verdicts speak of these trainings on other images, not "
                "of what other seeds would give. With more seeds they speak of the variants."
            )
        return (
            f"{seeds} seeds on {self.images} images, paired. Intervals: 95 %, over seeds and images; of a metric "
            'by which no variants differ, at most 5 of 100 such tables say "better" (Holm).'
        )

    def report(self) -> str:
        """The table, verdicts, and what is missing."""
        parts = [self.table(), "", self.note, "", *self.lines(), *(f"- {line}" for line in self.missing)]
        return "\n".join(parts)

    def write(self, folder: epath.Path, name: str = "table") -> str:
        """Writes NAME.md, .csv and .tex and NAME_verdicts.csv; returns the report."""
        report, rows = self.report(), self.rows()
        write_whole(folder / f"{name}.md", report + "\n")
        write_whole(folder / f"{name}.csv", comma_separated(tuple(rows[0]), [tuple(row.values()) for row in rows]))
        write_whole(folder / f"{name}.tex", self.table(latex))
        columns = ("metric", "variant", "minus", "difference", "low", "high", "probability_above", "p_value", "better")
        told = []
        for metric in self.metrics:
            for a, b, verdict in self.verdicts(metric):
                found, better = verdict.difference, {None: "", verdict.first: a, verdict.second: b}[verdict.better]
                told.append((metric, b, a, found.mean, *found.interval(), found.above, verdict.p_value, better))
        write_whole(folder / f"{name}_verdicts.csv", comma_separated(columns, told))
        return report


def verdict_line(first: str, second: str, verdict: Verdict) -> str:
    """Which of two variants is better, or what it would take to tell."""
    found = verdict.difference
    sign = -1 if found.mean < 0 else 1
    low, high = sorted(sign * end for end in found.interval())
    above, below = (second, first) if sign > 0 else (first, second)
    numbers = f"{sign * found.mean:+.3f}, 95 % {low:+.3f} … {high:+.3f}"
    if verdict.better is not None:
        probability = found.above if sign > 0 else 1 - found.above
        return f"{above} is better than {below} ({numbers}; P(better) {probability:.2f}, p {_p(verdict.p_value)})"
    said = f"{above} and {below}: cannot tell ({numbers}; p {_p(verdict.p_value)})"
    if found.seeds == 1 or not found.variance > 0:
        return said
    more = found.more_seeds(abs(found.mean))
    if more:
        return f"{said}; {more} more seeds would tell such a difference"
    return f"{said}; {found.seeds} more seeds would tell a difference of {found.told(2 * found.seeds):.3f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def judge(
    runs: Mapping[str, Mapping[int, epath.Path]],
    missing: Sequence[str] = (),
    metrics: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    split: str = "",
) -> Judged:
    """Reads what the images of each run contributed, and draws the same sets of images for all.

    Args:
        runs: variant -> seed -> run folder.
        missing: see `Judged`.
        metrics: their names; by default those that the runs' evaluators compare.
        seeds: that a variant must have to be judged; by default all that any of them has.
        split: one that `evaluate` was given; "" for the runs' own last evaluations.

    Raises:
        RunError: a run has no contributions, or two runs were evaluated on different images or annotations.
        ConfigError: a metric that none of them has.
    """
    found, compared = {}, []
    for name, of_seeds in runs.items():
        for seed, folder in sorted(of_seeds.items()):
            found[name, seed], about = read(folder, split)
            if about["step"] < about["steps"]:
                missing = [*missing, f"{folder} was evaluated at step {about['step']} of {about['steps']}"]
            compared += [each for each in about["compared"] if each not in compared]
    check_same_images({str(runs[name][seed]): each for (name, seed), each in found.items()})
    known = {metric: None for each in found.values() for metric in each.metrics}
    chosen = [check_name("--metric", metric, known) for metric in metrics or compared]
    images = len(next(iter(found.values())).ids)
    weights = resamples(images, ROUNDS, 0)
    values: dict[str, dict[str, list]] = {metric: {} for metric in chosen}
    drawn: dict[str, dict[str, list]] = {metric: {} for metric in chosen}
    for (name, _), each in found.items():
        has = [metric for metric in chosen if metric in each.metrics]
        once, sets = each.values(has), each.redrawn(weights, has)
        for metric in has:
            values[metric].setdefault(name, []).append(once[metric])
            drawn[metric].setdefault(name, []).append(sets[metric])
    stacked = lambda parts: {metric: {name: np.array(each) for name, each in of.items()} for metric, of in parts.items()}
    there = {name: sorted(each) for name, each in runs.items()}
    wanted = sorted(seeds or {seed for each in there.values() for seed in each})
    wanted = wanted[:1] if seeds is None and all(len(each) == 1 for each in there.values()) else wanted
    return Judged(there, wanted, stacked(values), stacked(drawn), images, missing)


def read(folder: epath.Path, split: str = "") -> tuple[Contributions, dict[str, Any]]:
    """The contributions of a run's last evaluation, or of that of `evaluate --split`, in the order of the images' ids.

    Raises:
        RunError: there are none.
    """
    file = folder / (f"evaluation/{split}_{CONTRIBUTIONS}" if split else CONTRIBUTIONS)
    if not file.exists() and split:
        raise RunError(f"{file} is not there: `{typed(f'evaluate --workdir={folder} --split={split}')}` writes it")
    if not file.exists():
        raise RunError(
            f"{folder} has no {CONTRIBUTIONS}: it is no run folder, was not evaluated yet, or was made by an older version. "
            "The command that trained it writes the file."
        )
    found, about = contributions.read(file)
    return found.sorted(), about


def check_same_images(found: Mapping[str, Contributions]) -> None:
    """Raises RunError where two evaluations are of different images, or of the same images with other annotations."""
    (first, reference), *others = found.items()
    for name, each in others:
        if different := sorted(set(each.ids) ^ set(reference.ids)):
            where = name if different[0] in each.ids else first
            raise RunError(
                f"{name} and {first} were evaluated on different images: of {len(different)} that only one of them has, "
                f"{different[0]!r} is in {where}"
            )
        if each.ids != reference.ids or each.classes != reference.classes:
            raise RunError(f"{name} and {first} were evaluated on different classes: {each.classes} and {reference.classes}")
        for index in np.flatnonzero(each.differs(reference))[:1]:
            raise RunError(f"{name} and {first} were evaluated on other annotations of {each.ids[index]!r}")
