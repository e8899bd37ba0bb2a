"""overlays.py: class maps over images, pixel by pixel."""

import tracemalloc

import numpy as np
import pytest

from cnnvision.pictures import drawing, overlays
from cnnvision.types import IGNORE, SemanticTarget

LUMA = np.array([0.299, 0.587, 0.114])


def tinted(pixel, label):
    """The colour of a class over the grey of a pixel."""
    grey = float(np.array(pixel) @ LUMA)
    return (1 - overlays.OPACITY) * grey + overlays.OPACITY * np.array(drawing.colour(label))


def test_known_pixels():
    pixels = np.array([[[200, 0, 0], [0, 100, 0]], [[10, 20, 250], [90, 90, 90]]], np.uint8)
    labels = np.array([[0, 2], [IGNORE, 0]], np.uint8)
    before = pixels.copy()
    found = overlays.tinted_map(pixels, labels)
    assert found.dtype == np.uint8 and found.shape == (2, 2, 3)
    np.testing.assert_array_equal(pixels, before)
    for row, column in ((0, 0), (0, 1), (1, 1)):
        np.testing.assert_allclose(found[row, column], tinted(pixels[row, column], labels[row, column]), atol=1)
    np.testing.assert_array_equal(found[1, 0], [10, 20, 250])  # in its colours: IGNORE leaves the image as it is
    assert (found[0, 0] != found[1, 1]).any()


@pytest.mark.parametrize("scale", [1, 3])
def test_the_map_is_enlarged_and_the_rest_stays_as_it_is(scale):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (7 * scale, 9 * scale, 3)).astype(np.uint8)
    labels = rng.choice(np.array([0, 1, 20, IGNORE], np.uint8), (5, 6))
    found = overlays.tinted_map(pixels, labels, scale)
    for row in range(7 * scale):
        for column in range(9 * scale):
            inside = row < 5 * scale and column < 6 * scale
            label = labels[row // scale, column // scale] if inside else IGNORE
            if label == IGNORE:
                np.testing.assert_array_equal(found[row, column], pixels[row, column])
            else:
                np.testing.assert_allclose(found[row, column], tinted(pixels[row, column], int(label)), atol=1)


def test_a_large_picture_takes_little_memory_and_no_seam():
    """The copy that comes back, and a few rows."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1000, 700, 3)).astype(np.uint8)
    labels = rng.choice(np.array([0, 1, 20, 254, IGNORE], np.uint8), (1000, 700))
    overlays.tinted_map(pixels[:1], labels[:1])  # what is made once
    tracemalloc.start()
    found = overlays.tinted_map(pixels, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.8 * pixels.nbytes
    inks = np.array([drawing.colour(label) for label in range(256)])
    expected = (1 - overlays.OPACITY) * (pixels @ LUMA)[..., None] + overlays.OPACITY * inks[labels]
    np.testing.assert_allclose(found, np.where((labels == IGNORE)[..., None], pixels, expected), atol=1)


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.4, 0.6, 1.0])
def test_a_tint_is_within_one_of_exact_and_changes_nothing_else(opacity):
    values = np.arange(256, dtype=np.uint8)
    image = np.stack([values, values[::-1], values], axis=-1)[None]
    before, where = image.copy(), np.arange(256)[None] % 3 > 0
    for ink in ((0, 0, 0), (255, 255, 255), (30, 190, 255)):
        found = drawing.tint(image, where, ink, opacity)
        exact = (1 - opacity) * image + opacity * np.array(ink)
        np.testing.assert_allclose(found, np.where(where[..., None], exact, image), atol=1)
        np.testing.assert_array_equal(found[~where], image[~where])
    np.testing.assert_array_equal(image, before)


def test_a_map_of_nothing_leaves_the_image():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(overlays.tinted_map(pixels, np.full((4, 5), IGNORE, np.uint8)), pixels)


@pytest.mark.parametrize(("classes", "background"), [(("background", "cat"), 0), (("pet", "Background", "border"), 1)])
def test_the_background_is_not_tinted(classes, background):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3)).astype(np.uint8)
    labels = np.array([[0, 1], [IGNORE, 1 - background]], np.uint8)
    assert overlays.background_of(classes) == background
    target = SemanticTarget(labels=labels)
    found = overlays.tinted(pixels, target, classes, 1)
    np.testing.assert_array_equal(found[labels == background], pixels[labels == background])
    np.testing.assert_allclose(found[1, 1], tinted(pixels[1, 1], 1 - background), atol=1)
    names = [overlays.class_of_map(k, classes) for k in range(2)]
    assert [ink is None for _, ink in names] == [k == background for k in range(2)] and names[0][0] == classes[0]


def test_no_class_is_background_unless_it_is_called_so():
    pixels, labels = np.full((1, 3, 3), 90, np.uint8), np.array([[0, 1, IGNORE]], np.uint8)
    found = overlays.tinted(pixels, SemanticTarget(labels=labels), ("road", "sky"), 1)
    for column in (0, 1):
        np.testing.assert_allclose(found[0, column], tinted(pixels[0, column], column), atol=1)
        name = ("road", "sky")[column]
        assert overlays.class_of_map(column, ("road", "sky")) == (name, drawing.colour(column))
    np.testing.assert_array_equal(found[0, 2], pixels[0, 2])


def test_present_classes_are_in_order():
    assert overlays.present(np.array([[7, 0], [IGNORE, 3], [3, 7]], np.uint8)) == [0, 3, 7]
    assert overlays.present(np.full((2, 2), IGNORE, np.uint8)) == []


def test_agreement_by_hand():
    """Two of three pixels that count are right; the class that is named beneath IGNORE is not mentioned."""
    truth = np.array([[0, 1], [1, IGNORE]], np.uint8)
    found = overlays.agreement(np.array([[0, 1], [0, 2]], np.uint8), truth, ("background", "cat", "dog"))
    assert found == [("66.7% right", None), ("background", None), ("cat", drawing.colour(1))]
    nothing = overlays.agreement(truth, np.full((2, 2), IGNORE, np.uint8), ("background", "cat"))
    assert nothing == [("nothing to compare", None)]
