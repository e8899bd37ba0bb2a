"""evaluation/recall.py: by hand, and against a slow version."""

import numpy as np
import pytest

from cnnvision.evaluation.recall import proposal_recall
from cnnvision.types import Objects
from tests.reference.boxes import iou

RANGES = {"small": (0.0, 200.0), "large": (200.0, 1e10)}


def objects_of(boxes, crowd=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    labels = np.arange(len(boxes), dtype=np.int32)
    return Objects(boxes, labels, np.zeros(len(boxes), bool) if crowd is None else np.array(crowd), area)


def test_by_hand():
    """The first proposal finds the small object exactly, the second the large one with IoU .8; the third finds nothing."""
    truth = objects_of([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]])
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 36], [80, 80, 90, 90]])
    table = proposal_recall([(truth, boxes)], RANGES, counts=(1, 2, 3))
    assert table[1] == pytest.approx({"AR": 1 / 3, "AR/small": 1 / 2, "AR/large": 0.0, "recall50": 1 / 3, "recall75": 1 / 3})
    # Of the ten thresholds .50 … .95 the second passes seven: up to .80.
    expected = {"AR": (1 + 0.7) / 3, "AR/small": 1 / 2, "AR/large": 0.7, "recall50": 2 / 3, "recall75": 2 / 3}
    assert table[2] == pytest.approx(expected) and table[3] == pytest.approx(expected)


def test_crowds_and_empty_images():
    crowd = objects_of([[0, 0, 10, 10], [20, 20, 40, 40]], crowd=[False, True])
    none = (objects_of([]), np.array([[0, 0, 5, 5]]))
    table = proposal_recall([(crowd, np.array([[0, 0, 10, 10]])), none, (crowd, np.zeros((0, 4)))], RANGES, counts=(5,))
    assert table[5]["AR"] == pytest.approx(0.5)
    assert np.isnan(proposal_recall([none], RANGES, counts=(5,))[5]["AR"])


def test_against_a_slow_version():
    """Greedy, as COCO has it: proposals in their order, each takes the free object that it fits best."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(20):
        corners = np.sort(rng.integers(0, 20, (rng.integers(1, 6), 2, 2)), axis=1).reshape(-1, 4)
        corners[:, 2:] += 1
        near = np.repeat(corners, 4, axis=0) + rng.integers(-1, 2, (4 * len(corners), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        images.append((objects_of(corners), rng.permutation(near).astype(np.float32)))
    for count in (3, 8):
        found = total = 0
        for truth, boxes in images:
            free = {*range(len(truth.boxes))}
            total += len(free)
            for box in boxes[:count]:
                fits = [(iou(box, truth.boxes[k]), k) for k in free if iou(box, truth.boxes[k]) >= 0.5]
                if fits:
                    free.remove(max(fits)[1])
                    found += 1
        assert proposal_recall(images, RANGES, counts=(count,))[count]["recall50"] == pytest.approx(found / total)
