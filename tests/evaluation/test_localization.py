"""Metrics of one object an image, on cases worked by hand."""

import math

import numpy as np
import pytest

from cnnvision.evaluation.classification import ClassificationEvaluator, image_label
from cnnvision.evaluation.localization import LocalizationEvaluator
from cnnvision.ops.geometry import overlaps
from cnnvision.types import ClassPrediction, Example, LocalizationPrediction, Objects


def example(boxes, labels, crowd=None, label=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Example("x", (100, 100), label=label, objects=Objects(boxes, np.array(labels, np.int32), crowd, area))


def one_hot(*labels, classes=3):
    return np.eye(classes, dtype=np.float32)[list(labels)]


def test_localization_by_hand():
    examples = [
        example([[0, 0, 10, 10]], [0]),  # right class, right box
        example([[0, 0, 10, 10]], [1]),  # wrong class, right box
        example([[0, 0, 10, 10]], [2]),  # right class, IoU exactly 0.5
        example([[0, 0, 10, 10], [0, 0, 50, 50]], [0, 1]),  # the larger one counts; IoU 0
        example([[0, 0, 10, 10], [0, 0, 50, 50]], [0, 1], crowd=[False, True]),  # the crowd does not
        example([], []),  # counts nowhere
    ]
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5], [60, 60, 90, 90], [0, 0, 10, 10], [0, 0, 9, 9]], np.float32
    )
    evaluator = LocalizationEvaluator(("a", "b", "c"))
    predictions = LocalizationPrediction(scores=one_hot(0, 0, 2, 1, 0, 0), boxes=boxes)
    evaluator.update(examples[:2], LocalizationPrediction(predictions.scores[:2], boxes[:2]))
    evaluator.update(examples[2:], LocalizationPrediction(predictions.scores[2:], boxes[2:]))
    metrics = evaluator.compute()
    assert metrics["images"] == 5
    assert metrics["accuracy"] == pytest.approx(4 / 5)
    assert metrics["mean_box_iou"] == pytest.approx((1 + 1 + 0.5 + 0 + 1) / 5)
    assert metrics["localization_accuracy"] == pytest.approx(3 / 5)
    assert metrics["localization_accuracy/a"] == 1.0
    assert metrics["localization_accuracy/b"] == 0.0
    assert evaluator.skipped == 1


def test_nothing_to_count_is_not_a_number():
    assert math.isnan(LocalizationEvaluator(("a",)).compute()["accuracy"])
    assert math.isnan(ClassificationEvaluator(("a",)).compute()["accuracy"])


def test_box_iou_of_boxes_without_area():
    assert overlaps(np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 1, 1])) == 0.0
    assert overlaps(np.array([5.0, 5, 1, 1]), np.array([0.0, 0, 9, 9])) == 0.0


def test_classification_by_hand():
    evaluator = ClassificationEvaluator(tuple("abcdefg"))
    examples = [example([], [], label=0), example([], [], label=1), example([[0, 0, 5, 5]], [6]), example([], [])]
    scores = np.array(
        [
            [0.9, 0.1, 0, 0, 0, 0, 0],  # first
            [0.5, 0.4, 0, 0, 0, 0, 0],  # second: in the top five
            [0.5, 0.4, 0.3, 0.2, 0.1, 0, 0],  # not in the top five (a tie goes to the lower id)
            [1, 0, 0, 0, 0, 0, 0],  # no class: counts nowhere
        ],
        np.float32,
    )
    evaluator.update(examples, ClassPrediction(scores))
    metrics = evaluator.compute()
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["accuracy_top5"] == pytest.approx(2 / 3)
    assert metrics["accuracy/a"] == 1.0
    assert metrics["images"] == 3 and evaluator.unlabelled == 1
    assert evaluator.confusion[1, 0] == 1


def test_an_image_without_a_class_takes_its_largest_objects():
    assert image_label(example([[0, 0, 1, 1], [0, 0, 2, 2]], [0, 1])) == 1
    assert image_label(example([[0, 0, 2, 2]], [1], label=0)) == 0
    assert image_label(example([], [])) is None
