"""Verdicts: by hand on small cases, and how often they are right over simulated grids whose truth is known."""

import itertools
import math

import numpy as np
import pytest

from cnnvision.evaluation.bootstrap import resamples
from cnnvision.evaluation.verdicts import Estimate, difference, holm, spread_over_seeds, verdicts

IMAGES, SETS = 60, 150
WEIGHTS = resamples(IMAGES, SETS, 0) / IMAGES


def grids(rng, count: int, effects, seeds: int, seed_noise: float, image_noise: float):
    """Simulated grids: values [count, v, k] and their values on drawn sets [count, v, k, r].

    A metric is the mean of its images' values. Each variant has an effect on each image of its own, which no further seed
    makes smaller, and each seed one on all images; what is common to all variants cancels, and is far larger.
    """
    variants = len(effects)
    common = 5.0 * rng.normal(size=(count, 1, 1, IMAGES)) + rng.normal(size=(count, 1, seeds, 1))
    of_images = image_noise * rng.normal(size=(count, variants, 1, IMAGES)) * math.sqrt(IMAGES)
    of_seeds = seed_noise * rng.normal(size=(count, variants, seeds, 1))
    noise = 0.3 * rng.normal(size=(count, variants, seeds, IMAGES))
    each = np.array(effects)[None, :, None, None] + common + of_images + of_seeds + noise
    return each.mean(axis=-1), each @ WEIGHTS.T


def test_parts_of_the_variance_by_hand():
    # Two seeds: differences 1 and 3, so their variance is 2; on two sets 0 and 2 of the one seed, 3 and 3 of the other.
    values = np.array([[0.0, 0.0], [1.0, 3.0]])
    drawn = np.stack([np.zeros((2, 2)), np.array([[0.0, 2.0], [3.0, 3.0]])])
    found = difference(values, drawn, 0, 1, 10, spread_over_seeds(values))
    assert found.mean == 2.0 and found.seeds == 2 and found.images == 10
    assert found.of_seeds == pytest.approx(2.0)
    assert found.of_images == pytest.approx(np.var([1.5, 2.5], ddof=1))  # means over seeds: 1.5 and 2.5
    # Around those means the first seed is −1.5, −.5, the second 1.5, .5: variances over sets .25 and .25; their sum over
    # seeds − 1, and of the mean of two seeds a half of it.
    assert found.shared == pytest.approx((0.25 + 0.25) / 1 / 2)
    assert found.variance == pytest.approx(2.0 / 2 + 0.5 - 0.25)
    assert found.above == 3.5 / 4  # of 0, 2, 3, 3: an equal one counts half


def test_pooled_spread_is_that_of_a_two_way_layout():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 3)) + 100 * rng.normal(size=(4, 1)) + 100 * rng.normal(size=(1, 3))
    spread, freedom = spread_over_seeds(values)
    pairs = [np.var(b - a, ddof=1) for a, b in itertools.combinations(values, 2)]
    assert freedom == 6 and spread == pytest.approx(np.mean(pairs))  # the mean of all pairs' own


def test_pair_with_a_larger_spread_keeps_its_own():
    rng = np.random.default_rng(1)
    values = 0.01 * rng.normal(size=(6, 5))
    values[3] += [2.0, -2.0, 1.0, -1.0, 0.0]
    drawn, pooled = np.repeat(values[:, :, None], 4, axis=2), spread_over_seeds(values)
    own = difference(values, drawn, 0, 3, 10, pooled)
    assert own.of_seeds == pytest.approx(np.var(values[3] - values[0], ddof=1)) and own.freedom_of_seeds == 4
    assert difference(values, drawn, 0, 1, 10, pooled).freedom_of_seeds == 20


@pytest.mark.parametrize(
    "p_values, corrected",
    [
        ([0.01], [0.01]),
        ([0.03, 0.01, 0.02], [0.04, 0.03, 0.04]),  # 3 × .01; 2 × .02; 1 × .03, not below the one before
        ([0.5, 0.9], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected)


def test_one_seed_speaks_of_images_alone():
    found = difference(
        np.array([[0.0], [1.0]]), np.array([[[0.0, 0.0, 0.0]], [[0.5, 1.0, 1.5]]]), 0, 1, 100, (math.nan, 0.0)
    )
    assert math.isnan(found.of_seeds) and found.variance == pytest.approx(0.25) and found.freedom == 99
    assert found.more_seeds(0.1) is None


def test_equal_variants_are_told_as_equal():
    same = np.ones((2, 3)), np.ones((2, 3, 5))
    (found,) = verdicts(*same, 10)
    assert found.p_value == 1.0 and found.better is None and found.difference.interval() == (0.0, 0.0)


def test_sets_on_which_one_is_undefined_are_left_out():
    values, drawn = np.array([[0.0], [1.0]]), np.array([[[0.0, 0.0, 0.0, np.nan]], [[0.5, np.nan, 1.5, 1.0]]])
    assert difference(values, drawn, 0, 1, 10, (math.nan, 0.0)).of_images == pytest.approx(0.5)


def test_sets_that_are_all_undefined_tell_nothing():
    values, drawn = np.array([[0.0], [1.0]]), np.full((2, 1, 3), np.nan)
    (found,) = verdicts(values, drawn, 10)
    assert found.better is None and found.p_value == 1.0


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("image_noise", [0.0, 1.0])
def test_no_effect_is_rarely_called_better(seeds, image_noise):
    count = 400
    values, drawn = grids(np.random.default_rng(2), count, [0.0] * 6, seeds, 0.5, image_noise)
    wrong = sum(any(each.better is not None for each in verdicts(*grid, IMAGES)) for grid in zip(values, drawn, strict=True))
    assert wrong / count <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("image_noise", [0.0, 0.5])
def test_intervals_cover_the_true_difference(image_noise):
    count, truth = 600, 0.7
    values, drawn = grids(np.random.default_rng(3), count, [0.0, truth, 0.0], 5, 0.5, image_noise)
    ends = [verdicts(*grid, IMAGES)[0].difference.interval() for grid in zip(values, drawn, strict=True)]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert abs(covered - 0.95) <= 0.02 + 3 * math.sqrt(0.05 * 0.95 / count)


def test_percentiles_over_seeds_and_images_would_be_too_narrow():
    count = 300
    values, _ = grids(np.random.default_rng(4), count, [0.0, 0.0], 5, 0.5, 0.0)
    means = (values[:, 1] - values[:, 0]) @ (resamples(5, 2000, 0) / 5).T
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (0 <= high)) < 0.88


def test_a_difference_that_is_said_to_be_told_is_told():
    rng, count = np.random.default_rng(5), 300
    values, drawn = grids(rng, count, [0.0, 0.0], 5, 0.5, 0.2)
    told = np.median([verdicts(*grid, IMAGES)[0].difference.told(5) for grid in zip(values, drawn, strict=True)])
    values, drawn = grids(rng, count, [0.0, told], 5, 0.5, 0.2)
    found = np.mean([verdicts(*grid, IMAGES)[0].better == 1 for grid in zip(values, drawn, strict=True)])
    assert abs(found - 0.8) <= 0.1


def test_more_seeds_tell_smaller_differences():
    known = Estimate(0.5, of_seeds=1.0, freedom_of_seeds=20.0, of_images=0.05, shared=0.01, seeds=5, images=500)
    told = [known.told(seeds) for seeds in range(2, 40)]
    assert told == sorted(told, reverse=True)
    more = known.more_seeds(1.0)
    assert known.told(5 + more) <= 1.0 < known.told(4 + more)
    assert known.more_seeds(0.05) is None  # the images do not allow it
