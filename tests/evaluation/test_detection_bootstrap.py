"""Intervals of average precision: each resample against COCO's code on a set in which the drawn images really occur."""

import numpy as np
import pytest

from cnnvision.evaluation.bootstrap import resamples
from cnnvision.evaluation.coco import coco_evaluation
from cnnvision.evaluation.contributions import Contributions
from cnnvision.evaluation.detection import DetectionEvaluator, matches_by_area
from cnnvision.types import COCO_AREA_RANGES
from tests.evaluation.test_detection import CLASSES, evaluated, objects_of, random_set

METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP/{name}" for name in CLASSES)]


def literal(images, weights):
    """Average precisions of the drawn images, one after the other."""
    evaluator = DetectionEvaluator(CLASSES, COCO_AREA_RANGES)
    evaluator.images = [image for image, weight in zip(images, weights, strict=True) for _ in range(weight)]
    metrics = evaluator.compute()
    return [metrics[name] for name in METRICS]


def resampled(images, rounds, seed=0):
    evaluation = coco_evaluation(images, len(CLASSES), COCO_AREA_RANGES)
    ids, matches = tuple(map(str, range(len(images)))), matches_by_area(evaluation, COCO_AREA_RANGES)
    return Contributions(ids, classes=CLASSES, matches=matches).redrawn(resamples(len(images), rounds, seed))


@pytest.mark.parametrize("seed", range(10))
def test_a_resample_is_the_set_of_its_images(seed):
    rng = np.random.default_rng(seed)
    truths, found = random_set(rng, images=8)
    # Among equal scores of one image, copies would be ranked in turns.
    found = [
        (boxes, labels, rng.permutation(1000)[: len(labels)] / 1000 + i / 1e4) for i, (boxes, labels, _) in enumerate(found)
    ]
    images = evaluated(truths, found).images
    values = resampled(images, rounds=7, seed=3)
    expected = [literal(images, weights) for weights in resamples(len(images), 7, 3)]
    assert sorted(values) == sorted(METRICS)
    np.testing.assert_allclose(np.stack([values[name] for name in METRICS], axis=1), expected, atol=1e-12)
    assert np.isfinite(expected).any()


def test_perfect_answers_and_none_at_all():
    truth = objects_of([[0, 0, 10, 10], [20, 20, 40, 50]], [0, 2])
    right, nothing = (truth.boxes, truth.labels, np.array([0.5, 0.75])), (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    empty = objects_of(np.zeros((0, 4)), [])
    for found, expected in ((right, 1.0), (nothing, 0.0)):
        values = resampled(evaluated([truth] * 3, [found] * 3).images, rounds=5)
        assert (values["AP"] == expected).all() and (values["AP50"] == expected).all()
    assert np.isnan(resampled(evaluated([empty] * 2, [right] * 2).images, rounds=5)["AP"]).all()
