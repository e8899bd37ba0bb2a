"""How far a metric may lie from its value on other images of the same kind: bootstrap intervals over images.

A bootstrap draws as many images as there are, with replacement, computes the metric of the drawn set, many
times; the interval holds the middle share of those values (the percentile interval: Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", section 13.3). One resample is a row of weights: how often each image was drawn. All
functions here draw the same resamples for the same count, rounds and seed.

It tells the uncertainty that comes from the choice of images. That of training (another seed, another order) is not in it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64, Real

from cnnvision.evaluation.segmentation_metrics import SegmentedImage, dice, mean_iou, pixel_accuracy
from cnnvision.settings import check_name

OF_CONFUSIONS = {"mean_iou": mean_iou, "dice": dice, "pixel_accuracy": pixel_accuracy}
"""Metrics of the summed confusion counts."""

OF_IMAGES = ("boundary_f", "rand_error", "foreground_rand_score")
"""Metrics that are means over the images where they are defined."""

BLOCK = 100
"""Resamples that are computed at once: it bounds the memory, whatever the number of rounds."""


def resamples(count: int, rounds: int, seed: int) -> Int64[np.ndarray, "{rounds} {count}"]:
    """How often each of `count` images occurs in each of `rounds` sets of `count` drawn with replacement."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)


def percentiles(values: Float64[np.ndarray, "rounds"], share: float) -> tuple[float, float]:
    """The ends of the middle `share` of the values that are not NaN; NaN where there are none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def resampled_confusions(
    confusions: Real[np.ndarray, "n k k+1"], weights: Int64[np.ndarray, "rounds n"]
) -> Float64[np.ndarray, "rounds k k+1"]:
    """Confusion counts of each resample, summed over its images."""
    # As a product of float64 matrices it is fast, and exact while the counts stay below 2^53.
    flat = confusions.reshape(len(confusions), -1).astype(np.float64)
    return (weights.astype(np.float64) @ flat).reshape(len(weights), *confusions.shape[1:])


def resampled_mean(
    values: Float64[np.ndarray, "n"], weights: Int64[np.ndarray, "rounds n"]
) -> Float64[np.ndarray, "rounds"]:
    """Mean of each resample over the images whose value is not NaN; NaN where it drew none of them."""
    defined = ~np.isnan(values)
    drawn = weights[:, defined].astype(np.float64)
    count = drawn.sum(axis=1)
    return np.divide(drawn @ values[defined], count, out=np.full(len(weights), np.nan), where=count > 0)


def resampled_metric(
    images: Sequence[SegmentedImage], metric: str, rounds: int = 2000, seed: int = 0
) -> Float64[np.ndarray, "{rounds}"]:
    """A metric of the SegmentationEvaluator on resamples of its `images`, whatever their order; NaN where there are none.

    Two models' values on the same images may be subtracted: each resample draws the same images for both. What makes an
    image easy or hard for both then cancels, so the interval of the difference is narrower than the two intervals suggest.

    Args:
        images: an evaluator's.
        metric: "mean_iou", "dice", "pixel_accuracy", "boundary_f", "rand_error" or "foreground_rand_score".
        rounds: number of resamples.
        seed: of the draw.

    Raises:
        ConfigError: there is no such metric.
    """
    check_name("metric", metric, [*OF_CONFUSIONS, *OF_IMAGES])
    if not images:
        return np.full(rounds, np.nan)
    images = sorted(images, key=lambda image: image.id)
    weights = resamples(len(images), rounds, seed)
    if metric in OF_IMAGES:
        return resampled_mean(np.array([getattr(image, metric) for image in images], np.float64), weights)
    confusions = np.stack([image.confusion for image in images])
    blocks = (weights[start : start + BLOCK] for start in range(0, rounds, BLOCK))
    return np.concatenate([OF_CONFUSIONS[metric](resampled_confusions(confusions, block)) for block in blocks])
