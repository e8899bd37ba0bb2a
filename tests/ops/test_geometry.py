"""ops/geometry.py: maps by hand, and there and back."""

import numpy as np
import pytest

from cnnvision.data.augment import resized
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import clip_boxes, invert, map_boxes, overlaps, paste_original, to_original
from cnnvision.types import IGNORE
from tests.reference import boxes
from tests.reference import windows as reference


def test_map_by_hand():
    boxes = np.array([[0, 0, 10, 20], [1, 2, 3, 4]], np.float32)
    mirror = np.array([[-2.0, 0.0, 100.0], [0.0, 0.5, 3.0]])  # x -> 100 − 2x, y -> y/2 + 3
    np.testing.assert_allclose(map_boxes(boxes, mirror), [[80, 3, 100, 13], [94, 4, 98, 5]])


def test_overlaps_equal_the_reference():
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.integers(0, 12, (30, 2, 2)), axis=1).reshape(30, 4).astype(np.float32) for _ in range(2))
    found = overlaps(a[:, None], b[None])
    assert found.shape == (30, 30) and found.dtype == np.float64
    np.testing.assert_allclose(found, [[boxes.iou(x.astype(float), y.astype(float)) for y in b] for x in a], atol=1e-12)


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


# Class maps ---------------------------------------------------------------------------------------------------------------


def back_of(labels, transform, core, size):
    canvas = np.full(size, IGNORE, np.uint8)
    paste_original(canvas, labels, np.array(transform, np.float32), core)
    return canvas


def test_classes_come_back_by_hand():
    """An image of 2 × 4 pixels, shown twice as wide: its pixels' centres lie on the borders 1, 3, 5 and 7 of the input's."""
    labels = np.arange(16, dtype=np.uint8).reshape(2, 8)
    stretched = [[2.0, 0, 0], [0, 1.0, 0]]
    np.testing.assert_array_equal(back_of(labels, stretched, (0, 0, 8, 2), (2, 4)), labels[:, [1, 3, 5, 7]])
    none = IGNORE
    right = [[none, none, 5, 7], [none, none, none, none]]
    np.testing.assert_array_equal(back_of(labels, stretched, (4, 0, 8, 1), (2, 4)), right)
    # A centre on the very end of the core still finds a class there, and never one beyond it.
    np.testing.assert_array_equal(back_of(labels, stretched, (0, 0, 5, 1), (2, 4)), [[1, 3, 4, none], [none] * 4])
    np.testing.assert_array_equal(back_of(labels, stretched, (3, 0, 3, 2), (2, 4)), np.full((2, 4), none))


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (37, 501), (90, 61)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_classes_come_back_as_pixel_by_pixel(resize, size):
    out = (24, 32)
    spec = InputSpec(sizes=(out,), target="semantic", resize=resize)
    fit = resized(size, out, spec)
    labels = np.random.default_rng(0).integers(0, 9, out).astype(np.uint8)
    transform, core = fit.transform.astype(np.float32), (0, 0, fit.size[1], fit.size[0])
    found = back_of(labels, transform, core, size)
    np.testing.assert_array_equal(found, reference.pasted(labels, transform, core, size))
    if spec.resize != "crop":
        assert (found != IGNORE).all()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_map_that_was_not_resized_comes_back_as_it_was(resize):
    labels = np.random.default_rng(0).integers(0, 9, (24, 32)).astype(np.uint8)
    transform = resized((24, 32), (24, 32), InputSpec(sizes=((24, 32),), target="semantic", resize=resize)).transform
    np.testing.assert_array_equal(back_of(labels, transform, (0, 0, 32, 24), (24, 32)), labels)


@pytest.mark.parametrize("length", [3, 97, 333, 1000, 4999])
def test_whole_factors_are_undone_and_rounding_loses_no_edge(length):
    for out in (7, 224, 513):
        transform = np.array([[out / length, 0, 0], [0, 1, 0]], np.float32)
        found = back_of(np.arange(out, dtype=np.int64)[None].astype(np.uint8) % 200, transform, (0, 0, out, 1), (1, length))
        assert (found != IGNORE).all()
    small = np.random.default_rng(0).integers(0, 9, (5, length)).astype(np.uint8)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(back_of(large, [[3, 0, 0], [0, 3, 0]], (0, 0, 3 * length, 15), (5, length)), small)


def test_tiles_are_pasted_core_by_core():
    """Whatever stands in margins, and beyond the image, is left out; what no core covers stays as it is."""
    whole = np.random.default_rng(0).integers(0, 9, (20, 30)).astype(np.uint8)
    canvas = np.full((20, 30), IGNORE, np.uint8)
    for x, y, core in ((-4, -4, (4, 4, 20, 20)), (12, -4, (4, 4, 18, 20)), (-4, 12, (4, 4, 20, 8))):
        labels = np.full((24, 24), 99, np.uint8)
        x1, y1, x2, y2 = core
        labels[y1:y2, x1:x2] = whole[y + y1 : y + y2, x + x1 : x + x2]
        paste_original(canvas, labels, np.array([[1, 0, -x], [0, 1, -y]], np.float32), core)
    expected = whole.copy()
    expected[16:, 16:] = IGNORE
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("core", [(0, 0, 0, 0), (3, 3, 3, 9), (5, 2, 4, 9), (20, 20, 24, 24)])
def test_a_core_without_pixels_of_the_image_changes_nothing(core):
    found = back_of(np.zeros((24, 24), np.uint8), [[1, 0, 0], [0, 1, 0]], core, (10, 12))
    assert (found == IGNORE).all()
