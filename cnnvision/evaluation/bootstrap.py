"""How far a metric may lie from its value on other images of the same kind: bootstrap intervals over images.

A bootstrap draws as many images as there are, with replacement, computes the metric of the drawn set, and does so many
times; the interval holds the middle share of those values (the percentile interval: Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", section 13.3). One resample is a row of weights: how often each image was drawn. All
functions here draw the same resamples for the same count, rounds and seed.

It tells the uncertainty that comes from the choice of images. That of training (another seed, another order) is not in it.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float64, Int64, Real

from cnnvision.errors import check_name
from cnnvision.evaluation.segmentation import SegmentedImage
from cnnvision.evaluation.segmentation_metrics import dice, mean_iou, pixel_accuracy

Weighted = Callable[[np.ndarray], np.ndarray]
"""A statistic of many resamples at once: int64 weights [rounds, n] -> float64 [rounds]."""

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


def bootstrap_interval(
    values_of: Callable[[np.ndarray], float], count: int, rounds: int = 2000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of any statistic of a set of images.

    Args:
        values_of: int64 [count] indices of the drawn images, in ascending order -> the statistic of that set; where it is
            NaN the resample is left out.
        count: number of images.
        rounds: number of resamples.
        seed: of the resamples.
        share: of the values that lie within the interval.

    Returns:
        (low, high); NaN where there is no image, or the statistic is nowhere defined.
    """
    if not count:
        return float("nan"), float("nan")
    indices = np.arange(count)
    values = [values_of(np.repeat(indices, weights)) for weights in resamples(count, rounds, seed)]
    return percentiles(np.array(values, np.float64), share)


def weighted_interval(
    values_of: Weighted, count: int, rounds: int = 2000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """`bootstrap_interval` for a statistic of many resamples at once: weights [rounds, count] -> float64 [rounds]."""
    if not count:
        return float("nan"), float("nan")
    blocks = _blocks(resamples(count, rounds, seed))
    return percentiles(np.concatenate([values_of(block) for block in blocks]), share)


def _blocks(weights: Int64[np.ndarray, "rounds n"]) -> Iterator[np.ndarray]:
    for start in range(0, len(weights), BLOCK):
        yield weights[start : start + BLOCK]


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


def metric_of(images: Sequence[SegmentedImage], metric: str) -> Weighted:
    """A metric of the SegmentationEvaluator as a statistic of weighted images.

    Args:
        images: an evaluator's `images`, at least one.
        metric: "mean_iou", "dice", "pixel_accuracy", "boundary_f", "rand_error" or "foreground_rand_score".

    Raises:
        ConfigError: there is no such metric.
    """
    check_name("metric", metric, [*OF_CONFUSIONS, *OF_IMAGES])
    if metric in OF_IMAGES:
        values = np.array([getattr(image, metric) for image in images], np.float64)
        return lambda weights: resampled_mean(values, weights)
    confusions = np.stack([image.confusion for image in images])
    return lambda weights: OF_CONFUSIONS[metric](resampled_confusions(confusions, weights))


def metric_interval(
    images: Sequence[SegmentedImage], metric: str, rounds: int = 2000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a metric over an evaluator's `images`, whatever their order; NaN where there are none."""
    if not images:
        return float("nan"), float("nan")
    images = sorted(images, key=lambda image: image.id)
    return weighted_interval(metric_of(images, metric), len(images), rounds, seed, share)


def difference_interval(
    first: Sequence[SegmentedImage],
    second: Sequence[SegmentedImage],
    metric: str,
    rounds: int = 2000,
    seed: int = 0,
    share: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a metric of `first` minus that of `second`, two models on the same images.

    Each resample draws the same images for both. What makes an image easy or hard for both then cancels, so the interval is
    narrower than two intervals side by side suggest.

    Raises:
        ValueError: the two do not hold the same images, or not the same number of classes.
    """
    first, second = (sorted(images, key=lambda image: image.id) for images in (first, second))
    ids = [[image.id for image in images] for images in (first, second)]
    if ids[0] != ids[1]:
        lone = sorted(set(ids[0]) ^ set(ids[1]))
        example = f"; for example {lone[0]!r} is in one of them only" if lone else ""
        raise ValueError(f"a paired difference needs the same images, got {len(first)} and {len(second)}{example}")
    if not first:
        return float("nan"), float("nan")
    if first[0].confusion.shape != second[0].confusion.shape:
        counts = [len(images[0].confusion) for images in (first, second)]
        raise ValueError(f"a paired difference needs the same classes, got {counts[0]} and {counts[1]} of them")
    of_first, of_second = metric_of(first, metric), metric_of(second, metric)
    return weighted_interval(lambda weights: of_first(weights) - of_second(weights), len(first), rounds, seed, share)
