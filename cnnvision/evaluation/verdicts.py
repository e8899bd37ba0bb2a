"""Whether one variant is better than another: from several trainings of each, with the same seeds, on the same images.

The difference of two variants varies with what was random in training (the seed) and with the images that happened to be
there. Seeds are paired, and so are images: what makes one hard for both cancels. Of a difference D[s] for each of k seeds,
and of its values D[s, r] on sets r of images drawn with replacement,

    variance of the mean = spread of D[s] over seeds / k  +  spread of the mean over sets  −  what both hold

What both hold is the part of the images' noise that is another one for each seed, / k. An interval is Student's t with
Satterthwaite's degrees of freedom (1946): with few seeds their spread is known badly, and percentiles of a bootstrap over
seeds and images would be too narrow (tests/evaluation/test_verdicts.py measures both).

A grid knows the spread over seeds better than a pair does: the residuals of variants × seeds (a two-way layout) are pooled,
with (variants − 1)(k − 1) degrees of freedom. A pair keeps its own spread where an F test finds it larger.

All pairs of a grid are one family of comparisons: their p-values are corrected by Holm's rule (1979), so that where no
variant differs, "better" is said in at most 5 of 100 grids. With one seed an interval speaks of these trainings on other
images, and of nothing else.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy import special

LEVEL = 0.05
"""How often "better" may be said where nothing is: of all comparisons that are made together."""
POWER = 0.8
"""How surely a difference is to be found that is said to be found with so many more seeds."""
LARGER = 0.2
"""The level of the F test by which a pair's own spread over seeds counts as larger than that of all."""
MOST_SEEDS = 100


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of a metric, or of the difference of two variants', what several seeds and the images at hand tell.

    Attributes:
        mean: over seeds.
        of_seeds: variance over seeds; NaN with one.
        freedom_of_seeds: degrees of freedom of `of_seeds`.
        of_images: variance of the mean over other images.
        shared: the part of `of_images` that `of_seeds` / seeds holds, too.
        seeds, images: how many.
        above: share of the seeds and drawn sets on which it is above 0; equal ones count half: P(A > B).
        comparisons: how many are made together.
    """

    mean: float
    of_seeds: float
    freedom_of_seeds: float
    of_images: float
    shared: float
    seeds: int
    images: int
    above: float = 0.5
    comparisons: int = 1

    @property
    def variance(self) -> float:
        """Of the mean."""
        return self.with_seeds(self.seeds)[0]

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of `variance`."""
        return self.with_seeds(self.seeds)[1]

    def with_seeds(self, seeds: int) -> tuple[float, float]:
        """Variance of the mean, and its degrees of freedom, with another number of seeds."""
        if self.seeds == 1:
            return self.of_images, max(self.images - 1.0, 1.0)
        from_seeds = self.of_seeds / seeds
        from_images = max(self.of_images - self.shared, 0.0)  # what no further seed makes smaller
        # With few images, what each seed's noise of images adds may be more than the spread over seeds shows.
        variance = max(from_seeds, self.shared * self.seeds / seeds) + from_images
        freedom_of_seeds = self.freedom_of_seeds * (seeds - 1) / (self.seeds - 1)
        parts = from_seeds**2 / freedom_of_seeds + from_images**2 / max(self.images - 1, 1)
        return variance, variance**2 / parts if parts else math.inf

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Holds the true value in 1 − `level` of all cases."""
        reach = quantile(self.freedom, 1 - level / 2) * math.sqrt(self.variance)
        return self.mean - reach, self.mean + reach

    @property
    def p_value(self) -> float:
        """The probability of a difference at least as large, of either sign, where there is none."""
        if math.isnan(self.mean) or math.isnan(self.variance):  # nothing counts
            return 1.0
        if not self.variance:
            return 1.0 if self.mean == 0 else 0.0
        return 2 * distribution(self.freedom, -abs(self.mean) / math.sqrt(self.variance))

    def told(self, seeds: int) -> float:
        """The least true difference that so many seeds tell, in `POWER` of all cases and among all comparisons."""
        variance, freedom = self.with_seeds(seeds)
        reach = quantile(freedom, 1 - LEVEL / self.comparisons / 2) + quantile(freedom, POWER)
        return reach * math.sqrt(variance)

    def more_seeds(self, difference: float) -> int | None:
        """How many more seeds would tell a difference; None where `MOST_SEEDS` would not: more images are needed."""
        enough = (seeds for seeds in range(self.seeds, MOST_SEEDS + 1) if self.told(seeds) <= difference)
        return None if self.seeds == 1 or (first := next(enough, None)) is None else first - self.seeds


@dataclasses.dataclass(frozen=True)
class Verdict:
    """On a pair of variants.

    Attributes:
        first, second: their positions.
        difference: the second's metric minus the first's.
        p_value: corrected for all pairs.
    """

    first: int
    second: int
    difference: Estimate
    p_value: float

    @property
    def better(self) -> int | None:
        """The position of the one that is above; None where that cannot be told."""
        if self.p_value > LEVEL:
            return None
        return self.second if self.difference.mean > 0 else self.first


def verdicts(values: Float64[np.ndarray, "v k"], drawn: Float64[np.ndarray, "v k r"], images: int) -> list[Verdict]:
    """On each pair of variants, in order.

    Args:
        values: a metric of each variant and seed, the same seeds in the same order.
        drawn: its values on r sets of images drawn with replacement, the same sets for all (evaluation/contributions.py);
            sets on which one of a pair is NaN are left out.
        images: how many there are.
    """
    pairs = list(itertools.combinations(range(len(values)), 2))
    pooled = spread_over_seeds(values)
    found = [difference(values, drawn, a, b, images, pooled, len(pairs)) for a, b in pairs]
    corrected = holm([each.p_value for each in found])
    return [Verdict(*pair, each, p) for pair, each, p in zip(pairs, found, corrected, strict=True)]


def spread_over_seeds(values: Float64[np.ndarray, "v k"]) -> tuple[float, float]:
    """The variance over seeds of a difference of two variants, pooled over all, and its degrees of freedom; NaN, 0 for one
    seed."""
    variants, seeds = values.shape
    freedom = (variants - 1) * (seeds - 1)
    if not freedom:
        return math.nan, 0.0
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return 2 * float((residuals**2).sum()) / freedom, float(freedom)


def difference(
    values: Float64[np.ndarray, "v k"],
    drawn: Float64[np.ndarray, "v k r"],
    first: int,
    second: int,
    images: int,
    pooled: tuple[float, float],
    comparisons: int = 1,
) -> Estimate:
    """The second variant's metric minus the first's; `pooled` is what `spread_over_seeds` tells of all."""
    of_seed, sets = values[second] - values[first], drawn[second] - drawn[first]
    sets, seeds = sets[:, ~np.isnan(sets).any(axis=0)], len(of_seed)
    if sets.shape[1] < 2:  # the metric is not defined
        return Estimate(math.nan, math.nan, 1.0, math.nan, math.nan, seeds, images, comparisons=comparisons)
    means = sets.mean(axis=0)
    own = float(np.var(sets - means, axis=1).sum() / (seeds - 1)) if seeds > 1 else 0.0
    spread, freedom = pooled
    if seeds > 1:
        mine = float(np.var(of_seed, ddof=1))
        if mine > spread * special.fdtri(seeds - 1, freedom, 1 - LARGER):
            spread, freedom = mine, seeds - 1.0
    above = float((sets > 0).mean() + (sets == 0).mean() / 2)
    of_images = float(np.var(means, ddof=1))
    return Estimate(float(of_seed.mean()), spread, freedom, of_images, own / seeds, seeds, images, above, comparisons)


def estimate(values: Float64[np.ndarray, "v k"], drawn: Float64[np.ndarray, "v k r"], variant: int, images: int) -> Estimate:
    """A variant's metric itself. Its spread over seeds is pooled over all variants, as in `verdicts`."""
    zeros = lambda part: np.concatenate([np.zeros_like(part[:1]), part])
    variants, seeds = values.shape
    freedom = variants * (seeds - 1)
    pooled = (float(values.var(axis=1, ddof=1).mean()), float(freedom)) if freedom else (math.nan, 0.0)
    return difference(zeros(values), zeros(drawn), 0, variant + 1, images, pooled)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of comparisons that are made together, corrected by Holm's rule: those up to a level are found at it."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def quantile(freedom: float, share: float) -> float:
    """Of Student's t, of the normal distribution where `freedom` is infinite."""
    return float(special.ndtri(share) if math.isinf(freedom) else special.stdtrit(freedom, share))


def distribution(freedom: float, value: float) -> float:
    """The share of Student's t below a value."""
    return float(special.ndtr(value) if math.isinf(freedom) else special.stdtr(freedom, value))
