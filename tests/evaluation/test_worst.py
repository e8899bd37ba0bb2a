"""worst.py: how wrong by hand, and the worst of many as sorting all of them finds them."""

import numpy as np
import pytest

from cnnvision.evaluation.detection_errors import confident
from cnnvision.evaluation.worst import Worst, mistake
from cnnvision.types import (
    IGNORE,
    Batch,
    ClassPrediction,
    ClassTarget,
    DetectionPrediction,
    LocalizationPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 0, 0]], np.float32)
OBJECTS = ObjectTarget(BOXES, np.array([0, 1, 0]), np.array([True, True, False]), np.zeros(3, bool))


def detections(boxes, labels, scores):
    return DetectionPrediction(np.array(boxes, np.float32), np.array(labels), np.array(scores), np.ones(len(labels), bool))


def test_detections_are_counted_as_they_are_drawn():
    judged = lambda found, threshold=0.5: mistake(confident(found, threshold), OBJECTS)
    right = detections(BOXES[:2], [0, 1], [0.9, 0.8])
    assert mistake(right, OBJECTS) == 0
    # A wrong class, so that one object is missed, and something in the background; the last is not drawn.
    wrong = detections([*BOXES[:2], [50, 50, 60, 60], [70, 70, 80, 80]], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.4])
    assert judged(wrong) == 3 and judged(wrong, 0.4) == 4 and judged(wrong, 0.75) == 2
    assert judged(detections(BOXES[:2], [0, 1], [0.4, 0.8])) == 1
    nothing = OBJECTS.replace(valid=np.zeros(3, bool))
    assert mistake(right, nothing) == 2


def test_classes_boxes_and_maps():
    scores = np.array([0.3, 0.7], np.float32)
    assert mistake(ClassPrediction(scores), ClassTarget(np.int32(1), np.True_)) == 0
    assert mistake(ClassPrediction(scores), ClassTarget(np.int32(0), np.True_)) == pytest.approx(0.7)
    assert mistake(ClassPrediction(scores), ClassTarget(np.int32(0), np.False_)) == 0
    half = LocalizationPrediction(scores[::-1], np.array([0, 0, 10, 5], np.float32))
    assert mistake(half, OBJECTS) == pytest.approx(0.5)
    assert mistake(half.replace(scores=scores), OBJECTS) == pytest.approx(1.7)
    labels = np.array([[0, 1, IGNORE], [1, 1, 0]], np.uint8)
    found = SegmentationPrediction(np.array([[1, 1, 1], [1, 0, IGNORE]], np.uint8))
    assert mistake(found, SemanticTarget(labels)) == pytest.approx(2 / 4)
    assert mistake(found, SemanticTarget(np.full_like(labels, IGNORE))) == 0


@pytest.mark.parametrize("count", [1, 5, 100])
def test_the_worst_of_many(count):
    rng = np.random.default_rng(0)
    scores, labels = rng.choice([0.1, 0.4, 0.6, 0.9], 40).astype(np.float32), rng.integers(0, 2, 40).astype(np.int32)
    valid = rng.random(40) < 0.8
    worst = Worst(count)
    for start in range(0, 40, 8):
        rows = slice(start, start + 8)
        batch = Batch(
            image=np.zeros((8, 2, 2, 3), np.uint8), size=np.full((8, 2), 2), valid=valid[rows],
            index=np.arange(start, start + 8), transform=np.zeros((8, 2, 3), np.float32), core=np.zeros((8, 4), np.int32),
            target=ClassTarget(labels[rows], np.ones(8, bool)), proposals=None,
        )  # fmt: skip
        worst.add(batch, ClassPrediction(np.stack([scores[rows], 1 - scores[rows]], axis=1)))
    wrong = np.where(scores > 0.5, 0, 1) != labels
    expected = [(-max(scores[i], 1 - scores[i]), i) for i in np.flatnonzero(wrong & valid)]
    found = [int(batch.index[0]) for batch, _ in worst.shown()]
    assert 5 < len(expected) < 40 and found == [i for _, i in sorted(expected)][:count]
    assert all(prediction.scores.shape == (1, 2) for _, prediction in worst.shown())


def test_detections_below_the_threshold_are_no_mistakes_and_not_kept():
    """One image with both objects and a weak third detection: wrong only where that is drawn."""
    found = detections([*BOXES[:2], [70, 70, 80, 80]], [0, 1, 1], [0.9, 0.8, 0.4])
    row = lambda x: np.asarray(x)[None]
    batch = Batch(
        image=np.zeros((1, 2, 2, 3), np.uint8), size=np.full((1, 2), 2), valid=np.ones(1, bool), index=np.zeros(1, int),
        transform=np.zeros((1, 2, 3), np.float32), core=np.zeros((1, 4), np.int32), proposals=None,
        target=ObjectTarget(*map(row, (OBJECTS.boxes, OBJECTS.labels, OBJECTS.valid, OBJECTS.crowd))),
    )  # fmt: skip
    predictions = DetectionPrediction(*map(row, (found.boxes, found.labels, found.scores, found.valid)))
    for threshold, kept in ((0.4, 1), (0.5, 0)):
        worst = Worst(4, threshold)
        worst.add(batch, predictions)
        assert len(worst.shown()) == kept
    worst = Worst(4, 0.85)
    worst.add(batch, predictions)
    assert worst.shown()[0][1].valid.tolist() == [[True, False, False]]
