"""Boundaries and partitions: by hand, at the tolerance, of little."""

import math

import numpy as np
import pytest

from cnnvision.evaluation import segmentation_metrics as metrics_of
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from tests.evaluation.test_segmentation import a_map, example, predictions, random_pair, same


def test_boundary_by_hand():
    truth, labels = a_map("00001111"), a_map("00000011")
    # θ is 1 pixel. Class 0: true boundary at 3, predicted at 5: two apart, F = 0. Class 1: 4 and 6, F = 0.
    assert metrics_of.boundary_f(truth, labels) == 0.0
    # One apart is near enough.
    assert metrics_of.boundary_f(truth, a_map("00000111")) == 1.0
    # Class 0: true 3, predicted 3 and 7: P = 1/2, R = 1, F = 2/3. Class 1: true 4; predicted 4 and 6: P = 1/2, F = 2/3.
    assert same(metrics_of.boundary_f(truth, a_map("00001110")), 2 / 3)
    # Class 2 has a boundary in the prediction only: 0. Class 0: 3 and 3: 1. Class 1: true 4, predicted 4 and 6: 2/3.
    assert same(metrics_of.boundary_f(truth, a_map("00001112")), (1 + 2 / 3 + 0) / 3)
    # All one class: the truth's two boundaries are missed.
    assert metrics_of.boundary_f(truth, a_map("00000000")) == 0.0
    assert math.isnan(metrics_of.boundary_f(a_map("00", "00"), a_map("00", "00")))
    assert math.isnan(metrics_of.boundary_f(a_map("00", "00"), a_map("11", "11")))


def test_boundaries_stop_at_ignored_pixels_but_not_at_missing_answers():
    # What lies between the classes is ignored: no class has a boundary there, whatever is predicted.
    truth = a_map("00-11")
    assert math.isnan(metrics_of.boundary_f(truth, a_map("00111")))
    assert math.isnan(metrics_of.boundary_f(truth, a_map("00-11")))
    # Class 0 is predicted to end where no answer begins; class 1 is found nowhere.
    assert same(metrics_of.boundary_f(a_map("0011"), a_map("00--")), (1 + 0) / 2)
    assert metrics_of.boundary(a_map("0011", "0011"), np.ones((2, 4), bool)).tolist() == [[False, True, True, False]] * 2
    assert math.isnan(metrics_of.boundary_f(a_map("00"), a_map("--")))


@pytest.mark.parametrize(
    ("size", "squared"),
    # 480 x 640: the diagonal is 800, θ = 6 exactly. 100 x 100: θ = 1.06. 900 x 1200 (1500): θ = 11.25, squared 126.6.
    [((480, 640), 36), ((100, 100), 1), ((1, 1), 1), ((128, 128), 1), ((200, 200), 4), ((900, 1200), 126), ((512, 512), 29)],
)
def test_tolerance(size, squared):
    assert metrics_of.squared_tolerance(*size) == squared


@pytest.mark.parametrize("squared", [1, 2, 4, 5, 29, 36, 168, 169, 170, 400, 625])
def test_near_is_exact_at_the_tolerance(squared):
    """By discs up to a radius of 12, by distances beyond: the same answer, also exactly at the distance."""
    generator = np.random.default_rng(squared)
    for shape in ((70, 61), (1, 60), (60, 1)):
        mask = (generator.random(shape) < 0.002).astype(np.uint8)
        mask[shape[0] // 2, shape[1] // 2] = 1
        places = np.argwhere(mask)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        distances = (rows[..., None] - places[:, 0]) ** 2 + (columns[..., None] - places[:, 1]) ** 2
        assert np.array_equal(metrics_of.near(mask, squared), distances.min(-1) <= squared)


def test_partitions_by_hand():
    # Truth: cells A (3 pixels) and B (2), one membrane pixel. Prediction: the membrane is missed, all merges into one.
    # rand_error: 15 pairs; together in the truth 3 + 1, in the prediction all: 11 disagree.
    # Score, over the 5 pixels of cells: p = 3, 2; t = 3, 2; s = 5. 13 / (0.5 · 13 + 0.5 · 25).
    truth = a_map("111011")
    assert same(metrics_of.rand_scores(truth, a_map("111111")), (11 / 15, 13 / 19))
    # A pixel of A is predicted membrane, and parts it: {0}, {2}, {4, 5} and membrane {1, 3}. Together in the truth are
    # 01 02 12 45, in the prediction 45 13: they disagree on 01 02 12 13.
    # Score: p = 1, 1, 1 (the membrane pixel), 2: Σ p² = 7; t² = 13; s = 1, 1, 1, 2: 7.
    assert same(metrics_of.rand_scores(truth, a_map("101011")), (4 / 15, 7 / (0.5 * 13 + 0.5 * 7)))
    assert metrics_of.rand_scores(truth, truth) == (0.0, 1.0)
    # Diagonal neighbours are not connected: two cells of one pixel each, the rest is membrane.
    assert metrics_of.rand_scores(a_map("10", "01"), a_map("10", "01")) == (0.0, 1.0)
    assert same(metrics_of.rand_scores(a_map("10", "01"), a_map("11", "01"))[0], 4 / 6)


def test_partitions_of_little():
    assert same(metrics_of.rand_scores(a_map("00"), a_map("01")), (1.0, math.nan))
    assert same(metrics_of.rand_scores(a_map("1-"), a_map("1-")), (math.nan, 1.0))
    # An ignored pixel parts cells on both sides.
    assert metrics_of.rand_scores(a_map("1-1"), a_map("111")) == (0.0, 1.0)


def test_whichever_class_is_the_background():
    """The same pictures with the two classes exchanged, ignored and unanswered pixels among them."""
    generator = np.random.default_rng(5)
    exchange = np.arange(256, dtype=np.uint8)
    exchange[:2] = 1, 0
    for _ in range(10):
        truth, labels = random_pair(generator, 2)
        expected = metrics_of.rand_scores(truth, labels)
        assert same(metrics_of.rand_scores(exchange[truth], exchange[labels], background=1), expected)
        assert same(metrics_of.rand_scores(truth, labels, background=0), expected)
        evaluator = SegmentationEvaluator(("cell", "membrane"), background=1)
        evaluator.update([example(exchange[truth])], predictions(exchange[labels]))
        if evaluator.images:
            assert same((evaluator.images[0].rand_error, evaluator.images[0].foreground_rand_score), expected)
    # By hand: cells of class 0 on both sides of a membrane of class 1, which the prediction misses.
    assert same(metrics_of.rand_scores(a_map("000100"), a_map("000000"), background=1), (11 / 15, 13 / 19))
    # Every class but the background is foreground: what touches is one cell.
    assert metrics_of.rand_scores(a_map("120", "000"), a_map("110", "000")) == (0.0, 1.0)


def test_a_background_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="background: 2 is none of the 2 classes"):
        SegmentationEvaluator(("a", "b"), background=2)


def test_no_answer_never_pays():
    truth = a_map("1101", "0011")
    assert metrics_of.rand_scores(truth, np.full_like(truth, 255)) == (1.0, 0.0)
    for place in np.ndindex(*truth.shape):
        labels = truth.copy()
        labels[place] = 255
        error, score = metrics_of.rand_scores(truth, labels)
        assert error > 0 and (score < 1 if truth[place] == 1 else score == 1)


def test_pairs_of_many_pixels_do_not_overflow():
    # One column of membrane parts two cells, which the prediction merges.
    side = 512
    truth = np.ones((side, side), np.uint8)
    truth[:, side // 2] = 0
    error, score = metrics_of.rand_scores(truth, np.ones_like(truth))
    pixels, left, right = side * side, side * side // 2, side * (side // 2 - 1)
    together = (left * (left - 1) + right * (right - 1) + side * (side - 1)) // 2
    assert same(error, 1 - together / (pixels * (pixels - 1) // 2))
    assert same(score, (left**2 + right**2) / (0.5 * (left**2 + right**2) + 0.5 * (left + right) ** 2))
