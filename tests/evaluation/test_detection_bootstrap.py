"""Intervals of average precision: each resample against COCO's code on a set in which the drawn images really occur."""

import numpy as np
import pytest

from cnnvision.evaluation.bootstrap import resamples
from cnnvision.evaluation.coco import coco_evaluation, matches_of
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.evaluation.detection_bootstrap import resampled_precisions
from cnnvision.types import COCO_AREA_RANGES
from tests.evaluation.test_detection import CLASSES, evaluated, objects_of, random_set


def literal(images, weights):
    """AP and AP50 of the drawn images, one after the other."""
    evaluator = DetectionEvaluator(CLASSES, {})
    evaluator.images = [image for image, weight in zip(images, weights, strict=True) for _ in range(weight)]
    metrics = evaluator.compute()
    return metrics["AP"], metrics["AP50"]


def resampled(images, **draw):
    return resampled_precisions(matches_of(coco_evaluation(images, len(CLASSES), COCO_AREA_RANGES)), **draw)


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
    np.testing.assert_allclose(np.stack([values["AP"], values["AP50"]], axis=1), expected, atol=1e-12)
    assert np.isfinite(expected).any()


def test_perfect_answers_and_none_at_all():
    truth = objects_of([[0, 0, 10, 10], [20, 20, 40, 50]], [0, 2])
    right, nothing = (truth.boxes, truth.labels, np.array([0.5, 0.75])), (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    empty = objects_of(np.zeros((0, 4)), [])
    for found, expected in ((right, 1.0), (nothing, 0.0)):
        values = resampled(evaluated([truth] * 3, [found] * 3).images, rounds=5)
        assert (values["AP"] == expected).all() and (values["AP50"] == expected).all()
    assert np.isnan(resampled(evaluated([empty] * 2, [right] * 2).images, rounds=5)["AP"]).all()
