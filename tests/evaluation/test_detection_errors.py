"""evaluation/detection_errors.py: every kind of error, by hand."""

import numpy as np

from cnnvision.evaluation.detection_errors import judge, shares
from cnnvision.types import Objects

OBJECTS = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 60, 20], [80, 80, 90, 90]], np.float32)
LABELS, CROWD = np.array([0, 1, 0, 1]), np.array([False, False, True, False])


def kinds_of(rows):
    boxes, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    return judge(boxes, labels, scores, OBJECTS, LABELS, CROWD)


def test_every_kind():
    verdicts = kinds_of([
        ([0, 0, 10, 9], 0, 0.5),  # a better one of the same object follows in the list
        ([0, 0, 10, 10], 0, 0.9),
        ([20, 0, 30, 10], 0, 0.8),
        ([20, 0, 30, 4], 1, 0.7),  # IoU 0.4
        ([40, 0, 60, 20], 0, 0.6),
        ([0, 50, 10, 60], 1, 0.95),
    ])  # fmt: skip
    assert verdicts.kinds == ["duplicate", "right", "wrong class", "badly placed", "ignored", "background"]
    assert verdicts.missed.tolist() == [False, True, False, True]
    assert verdicts.counts() == {
        "right": 1,
        "duplicate": 1,
        "wrong class": 1,
        "badly placed": 1,
        "background": 1,
        "missed": 2,
    }


def test_what_lies_within_a_crowd_of_its_class_is_ignored():
    found = kinds_of(
        [([41, 1, 49, 9], 0, 0.9), ([55, 1, 65, 9], 0, 0.8), ([56, 1, 66, 9], 0, 0.7), ([41, 1, 49, 9], 1, 0.6)]
    )
    assert found.kinds == ["ignored", "ignored", "background", "background"]  # half and less of it; another class


def test_an_iou_of_exactly_a_half_is_right_and_of_a_tenth_badly_placed():
    assert kinds_of([([0, 0, 10, 5], 0, 0.9), ([20, 0, 30, 1], 1, 0.9)]).kinds == ["right", "badly placed"]
    assert kinds_of([([0, 0, 10, 4.9], 0, 0.9), ([20, 0, 30, 0.9], 1, 0.9)]).kinds == ["badly placed", "background"]


def test_near_an_object_of_another_class_is_of_a_wrong_class():
    """An IoU of a tenth is enough; one of a half outweighs an object of its own class nearby, less does not."""
    assert kinds_of([([0, 0, 10, 1], 1, 0.9), ([0, 0, 10, 0.9], 1, 0.8)]).kinds == ["wrong class", "background"]
    near = np.array([[0, 0, 10, 10], [0, 5, 10, 15]], np.float32)
    found = lambda box: judge(np.array([box]), np.array([0]), np.ones(1), near, np.array([0, 1]), np.zeros(2, bool)).kinds
    assert found([0, 5, 10, 14]) == ["wrong class"] and found([0, 7, 10, 11]) == ["badly placed"]


def test_shares_of_the_best_detections_by_hand():
    """Two objects of class 0 and one of class 1, so that the two best of class 0 and the best of class 1 are judged."""
    objects = lambda boxes, labels, crowd: Objects(
        np.array(boxes, np.float32), np.array(labels), np.array(crowd), np.ones(len(boxes), np.float32)
    )
    first = objects([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1], [False, False])
    second = objects([[0, 0, 10, 10], [50, 50, 90, 90]], [0, 0], [False, True])
    images = [
        (first, np.array([[0, 0, 10, 10], [20, 0, 30, 4], [20, 0, 30, 10]]), np.array([0, 1, 1]), np.array([0.9, 0.8, 0.7])),
        (second, np.array([[60, 60, 70, 70], [0, 0, 10, 10]]), np.array([0, 0]), np.array([0.8, 0.3])),
    ]
    found = shares(images, 3)
    # Judged: one right, one within the crowd (ignored), one badly placed; two of three objects are missed.
    expected = {"right": 0.5, "duplicate": 0, "wrong class": 0, "badly placed": 0.5, "background": 0, "missed": 2 / 3}
    assert found == expected
    assert all(np.isnan(share) for share in shares([], 3).values())


def test_two_objects_of_one_place_are_found_by_two_detections():
    same = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    found = judge(same, np.array([0, 0]), np.array([0.9, 0.8]), same, np.array([0, 0]), np.zeros(2, bool))
    assert found.kinds == ["right", "right"] and not found.missed.any()


def test_nothing():
    none = np.zeros((0, 4), np.float32)
    empty = judge(none, np.zeros(0, int), np.zeros(0), none, np.zeros(0, int), np.zeros(0, bool))
    assert empty.kinds == [] and empty.counts() == {}
    only = judge(none, np.zeros(0, int), np.zeros(0), OBJECTS, LABELS, CROWD)
    assert only.counts() == {"missed": 3}
