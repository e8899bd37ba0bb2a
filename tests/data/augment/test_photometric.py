"""data/augment/photometric.py: each change by its definition, and all four in one matrix."""

import numpy as np
import pytest

from cnnvision.data.augment.photometric import LUMA, UNCHANGED, Colours

IMAGE = np.random.default_rng(0).integers(60, 180, (16, 20, 3)).astype(np.uint8)

ROUNDING = 0.5 + 3 * 255 / 2**11
"""Half a unit, and OpenCV's coefficients of 8-bit images, which are multiples of 2^-10."""


def luma(image):
    return image.astype(float) @ LUMA


def test_unchanged_is_the_same_image():
    assert UNCHANGED.apply(IMAGE) is IMAGE
    np.testing.assert_allclose(UNCHANGED.matrix(np.array([1.0, 2.0, 3.0])), np.eye(3, 4), atol=1e-12)


def test_brightness_multiplies():
    np.testing.assert_allclose(Colours(brightness=1.3).apply(IMAGE), IMAGE * 1.3, atol=ROUNDING)
    assert (Colours(brightness=3.0).apply(IMAGE)[IMAGE > 85] == 255).all()  # clipped, not wrapped


def test_contrast_is_the_distance_from_the_mean_grey():
    mean = luma(IMAGE).mean()
    np.testing.assert_allclose(Colours(contrast=0.4).apply(IMAGE), mean + 0.4 * (IMAGE - mean), atol=ROUNDING)
    assert np.ptp(Colours(contrast=0.0).apply(IMAGE)) == 0


def test_saturation_is_the_distance_from_each_pixels_grey():
    grey = luma(IMAGE)[..., None]
    np.testing.assert_allclose(Colours(saturation=0.3).apply(IMAGE), grey + 0.3 * (IMAGE - grey), atol=ROUNDING)
    assert np.ptp(Colours(saturation=0.0).apply(IMAGE), axis=2).max() == 0


def test_hue_turns_and_keeps_luma():
    matrix = Colours(hue=0.1).matrix(np.zeros(3))[:, :3]
    np.testing.assert_allclose(LUMA @ matrix, LUMA, atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)  # greys stay
    np.testing.assert_allclose(np.linalg.matrix_power(matrix, 10), np.eye(3), atol=1e-9)  # ten tenths of the circle
    assert np.abs(matrix - np.eye(3)).max() > 0.1


@pytest.mark.parametrize("hue", [1 / 3, -1 / 3])
def test_a_third_of_the_circle_moves_the_primaries_on(hue):
    turned = Colours(hue=hue).matrix(np.zeros(3))[:, :3] @ np.eye(3)
    order = turned.argmax(axis=0)  # which primary each primary becomes
    assert sorted(order) == [0, 1, 2] and all(order != [0, 1, 2])


def test_all_four_are_one_map_after_the_other():
    """Brightness, then contrast about the brighter image's mean, then saturation and hue about each pixel's grey."""
    colours = Colours(brightness=1.2, contrast=0.7, saturation=1.3, hue=0.05)
    x = IMAGE.astype(float) * 1.2
    mean = luma(x).mean()
    x = mean + 0.7 * (x - mean)
    grey = luma(x)[..., None]
    x = grey + 1.3 * (x - grey)
    turn = Colours(hue=0.05).matrix(np.zeros(3))[:, :3]
    expected = np.clip(x @ turn.T, 0, 255)
    np.testing.assert_allclose(colours.apply(IMAGE), expected, atol=ROUNDING)
