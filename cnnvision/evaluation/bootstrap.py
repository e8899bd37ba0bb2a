"""How far a metric may lie from its value on other images of the same kind: bootstrap intervals over images.

A bootstrap draws as many images as there are, with replacement, computes the metric of the drawn set, many
times; the interval holds the middle share of those values (the percentile interval: Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", section 13.3). One resample is a row of weights: how often each image was drawn. All
functions here draw the same resamples for the same count, rounds and seed.

It tells the uncertainty that comes from the choice of images. That of training (another seed, another order) is not in it.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real

BLOCK = 100
"""Resamples that are computed at once: it bounds the memory, whatever the number of rounds."""


def resamples(count: int, rounds: int, seed: int) -> Int64[np.ndarray, "{rounds} {count}"]:
    """How often each of `count` images occurs in each of `rounds` sets of `count` drawn with replacement."""
    if not count:
        return np.zeros((rounds, 0), np.int64)
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)


def percentiles(values: Float64[np.ndarray, "rounds"], share: float) -> tuple[float, float]:
    """The ends of the middle `share` of the values that are not NaN; NaN where there are none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def resampled_confusions(
    confusions: Real[np.ndarray, "n k k+1"], weights: Integer[np.ndarray, "rounds n"]
) -> Float64[np.ndarray, "rounds k k+1"]:
    """Confusion counts of each resample, summed over its images."""
    # As a product of float64 matrices it is fast, and exact while the counts stay below 2^53.
    flat = confusions.reshape(len(confusions), math.prod(confusions.shape[1:])).astype(np.float64)
    return (weights.astype(np.float64) @ flat).reshape(len(weights), *confusions.shape[1:])


def resampled_mean(
    values: Float64[np.ndarray, "n"], weights: Integer[np.ndarray, "rounds n"]
) -> Float64[np.ndarray, "rounds"]:
    """Mean of each resample over the images whose value is not NaN; NaN where it drew none of them."""
    defined = ~np.isnan(values)
    drawn = weights[:, defined].astype(np.float64)
    count = drawn.sum(axis=1)
    return np.divide(drawn @ values[defined], count, out=np.full(len(weights), np.nan), where=count > 0)
