"""ops/geometry.py: maps by hand, and there and back."""

import numpy as np
import pytest

from cnnvision.ops.geometry import clip_boxes, invert, map_boxes, to_original


def test_map_by_hand():
    boxes = np.array([[0, 0, 10, 20], [1, 2, 3, 4]], np.float32)
    mirror = np.array([[-2.0, 0.0, 100.0], [0.0, 0.5, 3.0]])  # x -> 100 − 2x, y -> y/2 + 3
    np.testing.assert_allclose(map_boxes(boxes, mirror), [[80, 3, 100, 13], [94, 4, 98, 5]])


def test_quarter_turn():
    turn = np.array([[0.0, -1.0, 50.0], [1.0, 0.0, 0.0]])  # (x, y) -> (50 − y, x)
    np.testing.assert_allclose(map_boxes(np.array([[1.0, 2.0, 5.0, 12.0]]), turn), [[38, 1, 48, 5]])


def test_eighth_turn_gives_the_box_around_the_corners():
    s = np.sqrt(0.5)
    turn = np.array([[s, -s, 0.0], [s, s, 0.0]])
    np.testing.assert_allclose(map_boxes(np.array([0.0, 0.0, 2.0, 2.0]), turn), [-2 * s, 0, 2 * s, 4 * s])


def test_inverse_undoes():
    rng = np.random.default_rng(0)
    for _ in range(20):
        transform = rng.normal(size=(2, 3)) * 10
        both = np.vstack([invert(transform), [0, 0, 1]]) @ np.vstack([transform, [0, 0, 1]])
        np.testing.assert_allclose(both, np.eye(3), atol=1e-9)


def test_no_inverse():
    with pytest.raises(np.linalg.LinAlgError):
        invert(np.zeros((2, 3)))


def test_there_and_back_within_the_image():
    rng = np.random.default_rng(1)
    boxes = np.sort(rng.uniform(0, [400, 300], (50, 2, 2)), axis=1).reshape(50, 4)
    for transform in ([[0.5, 0, 3], [0, 0.25, -2]], [[-0.32, 0, 128], [0, 0.43, 0]]):
        transform = np.array(transform, np.float32)
        back = to_original(map_boxes(boxes, transform).astype(np.float32), transform, (300, 400))
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, boxes, atol=1e-3)


def test_what_leaves_the_image_is_clipped():
    transform = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]], np.float32)
    box = to_original(np.array([-5, 10, 70, 1e9], np.float32), transform, (60, 100))
    np.testing.assert_allclose(box, [0, 20, 100, 60])
    np.testing.assert_allclose(clip_boxes(np.array([[-1.0, -1.0, 200.0, 5.0]]), (10, 20)), [[0, 0, 20, 5]])


def test_no_boxes():
    assert to_original(np.zeros((0, 4), np.float32), np.eye(2, 3), (5, 5)).shape == (0, 4)
