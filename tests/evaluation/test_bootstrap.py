"""Bootstrap intervals: where the answer is known, and the vectorised ways against the plain one."""

import math

import numpy as np
import pytest

from cnnvision.evaluation import bootstrap
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.evaluation.segmentation_metrics import SegmentedImage, mean_iou


def images(seed=0, count=30, classes=3, scores=None):
    """Records with random confusion counts, larger on the diagonal; some have no boundary."""
    generator = np.random.default_rng(seed)
    records = []
    for index in range(count):
        confusion = generator.integers(0, 20, (classes, classes + 1)) + 40 * np.eye(classes, classes + 1, dtype=np.int64)
        score = generator.random() if scores is None else scores[index]
        records.append(SegmentedImage(f"{index:03}", confusion, float("nan") if index % 7 == 3 else float(score)))
    return records


def redrawn(records, metric, rounds, seed):
    evaluator = SegmentationEvaluator([f"class {k}" for k in range(len(records[0].confusion) if records else 1)])
    evaluator.images = records
    weights = bootstrap.resamples(len(records), rounds, seed)
    return evaluator.contributions().sorted().redrawn(weights, [metric])[metric]


def interval(records, metric, rounds=2000, seed=0):
    return bootstrap.percentiles(redrawn(records, metric, rounds, seed), 0.95)


def difference_interval(first, second, metric, rounds=2000, seed=0):
    values = [redrawn(records, metric, rounds, seed) for records in (first, second)]
    return bootstrap.percentiles(values[0] - values[1], 0.95)


def plain_interval(values_of, count, rounds, seed=0, share=0.95):
    """One resample after the other, each the indices of its images."""
    drawn = bootstrap.resamples(count, rounds, seed)
    values = [values_of(np.repeat(np.arange(count), weights)) for weights in drawn]
    return bootstrap.percentiles(np.array(values), share)


def test_resamples_draw_as_many_images_as_there_are():
    weights = bootstrap.resamples(20, 500, seed=3)
    assert weights.shape == (500, 20) and (weights.sum(1) == 20).all() and (weights >= 0).all()
    # Each image is drawn once on average, with variance 1 − 1/20: the mean of 500 draws lies within 5 standard errors.
    assert np.abs(weights.mean(0) - 1).max() < 5 * math.sqrt(0.95 / 500)
    assert weights.var() == pytest.approx(0.95, rel=0.1)
    assert np.array_equal(weights, bootstrap.resamples(20, 500, seed=3))
    assert not np.array_equal(weights, bootstrap.resamples(20, 500, seed=4))


def test_constant_values_have_no_width():
    assert plain_interval(lambda indices: 0.25, 10, rounds=50) == (0.25, 0.25)
    equal = [SegmentedImage(str(index), np.array([[3, 1, 0], [1, 3, 0]]), 0.5) for index in range(5)]
    low, high = interval(equal, "mean_iou", rounds=50)
    assert low == high == 3 / 5
    assert interval(equal, "boundary_f", rounds=50) == (0.5, 0.5)
    assert difference_interval(equal, equal, "mean_iou", rounds=50) == (0.0, 0.0)


def test_the_mean_as_by_the_normal_approximation():
    values = np.random.default_rng(1).normal(0.6, 0.1, 400)
    error = values.std() / math.sqrt(len(values))
    for share, widths in ((0.95, 1.95996), (0.5, 0.67449)):
        low, high = plain_interval(lambda indices: float(values[indices].mean()), 400, 4000, share=share)
        assert low == pytest.approx(values.mean() - widths * error, abs=0.1 * error)
        assert high == pytest.approx(values.mean() + widths * error, abs=0.1 * error)


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(2)
    inside = 0
    for seed in range(300):
        values = generator.exponential(1.0, 80)
        low, high = bootstrap.percentiles(bootstrap.resampled_mean(values, bootstrap.resamples(80, 300, seed)), 0.9)
        inside += low <= 1.0 <= high
    # 90 % less the percentile interval's known shortfall on skewed values (some 2 %); five standard errors are 9 %.
    assert 0.8 < inside / 300 < 0.97


def test_the_vectorised_ways_are_the_plain_one():
    records = images()
    confusions = np.stack([image.confusion for image in records])
    scores = np.array([image.boundary_f for image in records])
    plain = plain_interval(lambda i: float(mean_iou(confusions[i].sum(0))), len(records), 230, seed=5)
    assert interval(records, "mean_iou", 230, seed=5) == pytest.approx(plain, rel=1e-12)
    plain = plain_interval(lambda i: float(np.nanmean(scores[i])), len(records), 230, seed=5)
    assert interval(records, "boundary_f", 230, seed=5) == pytest.approx(plain, rel=1e-12)
    assert plain[0] < np.nanmean(scores) < plain[1]


def test_resampled_confusions_are_exact_sums():
    records = images(count=4)
    confusions = np.stack([image.confusion for image in records]) * 10**12
    weights = np.array([[1, 1, 1, 1], [0, 4, 0, 0], [2, 0, 1, 1]])
    expected = [confusions.sum(0), 4 * confusions[1], 2 * confusions[0] + confusions[2] + confusions[3]]
    assert np.array_equal(bootstrap.resampled_confusions(confusions, weights), np.array(expected, np.float64))


def test_values_that_are_not_defined():
    weights = np.array([[2, 0], [0, 2], [1, 1]])
    means = bootstrap.resampled_mean(np.array([0.5, math.nan]), weights)
    assert means[0] == 0.5 and math.isnan(means[1]) and means[2] == 0.5
    low, high = bootstrap.percentiles(
        bootstrap.resampled_mean(np.array([0.5, math.nan]), bootstrap.resamples(2, 50, 0)), 0.95
    )
    assert low == high == 0.5  # a quarter of the resamples drew nothing: they are left out
    nowhere = [SegmentedImage("a", np.zeros((2, 3), np.int64), math.nan)] * 2
    for low, high in (
        interval(nowhere, "boundary_f", 20),
        interval(nowhere, "mean_iou", 20),
        interval([], "mean_iou"),
        difference_interval([], [], "mean_iou"),
        bootstrap.percentiles(np.zeros(0), 0.95),
    ):
        assert math.isnan(low) and math.isnan(high)


def test_pairing_matters():
    """Images differ much, the two models by little: only the paired interval sees it."""
    generator = np.random.default_rng(4)
    scores = generator.random(100)
    better = images(count=100, scores=scores + 0.02 + 0.005 * generator.standard_normal(100))
    worse = images(count=100, scores=scores)
    low, high = difference_interval(better, worse, "boundary_f")
    assert 0.015 < low < 0.02 < high < 0.025
    assert difference_interval(worse, better, "boundary_f") == pytest.approx((-high, -low))
    alone = interval(better, "boundary_f")
    assert alone[1] - alone[0] > 20 * (high - low)


def test_the_difference_of_mean_iou_as_by_hand():
    first, second = images(seed=1, count=12), images(seed=2, count=12)
    stacks = [np.stack([image.confusion for image in records]) for records in (first, second)]
    difference = lambda i: float(mean_iou(stacks[0][i].sum(0)) - mean_iou(stacks[1][i].sum(0)))
    plain = plain_interval(difference, 12, 150, seed=9)
    assert difference_interval(first, second, "mean_iou", 150, seed=9) == pytest.approx(plain, rel=1e-9)
    # The order in which images were evaluated does not matter.
    turned = difference_interval(first[::-1], second[3:] + second[:3], "mean_iou", 150, seed=9)
    assert turned == pytest.approx(plain, rel=1e-9)
