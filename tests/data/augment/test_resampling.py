"""data/augment/resampling.py against one-pixel-at-a-time arithmetic, and ramps whose value tells where a pixel came from."""

import math

import numpy as np
import pytest

from cnnvision.data.augment.resampling import place_image, place_maps, resize, warp_image, warp_maps
from tests.reference import resampling as reference

FILL = (9, 8, 7)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 7.0 + c) + np.cos(y / 9.0 - c) + np.sin((x + y) / 11.0) for c in range(3)]
    return (127 + 40 * np.stack(waves, -1)).astype(np.uint8)


def ramp(height, width):
    """Red is 2·x, green is 2·y of each pixel's centre, so that a colour tells a place to half a unit."""
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x + 1, 2 * y + 1, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((10, 12), (17, 30)),
        ((20, 20), (15, 14)),
        ((33, 30), (12, 11)),
        ((40, 9), (7, 21)),
        ((1, 1), (4, 3)),
        ((5, 1), (2, 2)),
    ],
)
def test_resize_equals_the_reference(old, new):
    image = noise(*old)
    found = resize(image, new)
    assert found.shape == (*new, 3) and found.dtype == np.uint8
    # Rounded to whole numbers after each halving: half a unit each time.
    np.testing.assert_allclose(found, reference.resize(image, new), atol=2.1)


def test_same_size_is_the_same_image():
    image = noise(7, 9)
    assert resize(image, (7, 9)) is image


@pytest.mark.parametrize("factor", [2, 4])
def test_whole_powers_of_two_average_blocks(factor):
    image = noise(8 * factor, 6 * factor)
    blocks = image.reshape(8, factor, 6, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, (8, 6)), blocks, atol=1.1)


@pytest.mark.parametrize(("old", "new"), [((100, 90), (33, 41)), ((64, 64), (48, 50)), ((90, 120), (25, 20))])
def test_shrinking_is_nearly_an_area_average(old, new):
    image = smooth(*old)
    difference = np.abs(resize(image, new) - reference.area(image, new))
    assert difference.mean() < 0.8 and difference.max() < 5


def test_shrinking_does_not_alias():
    """Of the finest stripes an area average leaves at most 1/3 of the contrast (three to a pixel), bilinear samples all."""
    stripes = np.tile(np.array([[[0] * 3, [255] * 3]], np.uint8), (60, 60, 1))
    for width in (60, 40, 30, 23, 17, 9):
        assert np.abs(resize(stripes, (20, width)) - 127.5).max() <= 127.5 / 3 + 1


@pytest.mark.parametrize(
    ("source", "target", "size"),
    [
        ((0, 0, 100, 80), (0, 0, 64, 64), (64, 64)),
        ((13, 7, 53, 57), (0, 0, 64, 80), (80, 64)),
        ((20, 30, 30, 70), (0, 0, 40, 40), (40, 40)),
        ((0, 0, 100, 80), (10, 5, 40, 33), (50, 60)),
        ((5, 6, 45, 36), (3, 30, 60, 64), (64, 60)),
    ],
)
def test_pixels_come_from_where_the_map_says(source, target, size):
    image = place_image(ramp(80, 100), source, target, size, FILL)
    assert image.shape == (*size, 3)
    (sx1, sy1, sx2, sy2), (x1, y1, x2, y2) = source, target
    outside = np.ones(size, bool)
    outside[y1:y2, x1:x2] = False
    assert (image[outside] == FILL).all()
    x = sx1 + (np.arange(x2 - x1) + 0.5) * (sx2 - sx1) / (x2 - x1)
    y = sy1 + (np.arange(y2 - y1) + 0.5) * (sy2 - sy1) / (y2 - y1)
    inside_x = (x > sx1 + 0.5) & (x < sx2 - 0.5)
    inside_y = (y > sy1 + 0.5) & (y < sy2 - 0.5)
    part = image[y1:y2, x1:x2].astype(float)[np.ix_(inside_y, inside_x)]
    tolerance = 1.01 if (sx2 - sx1) / (x2 - x1) < 3 else 2.0  # near the rim of a shrunk image its edge is repeated
    np.testing.assert_allclose(part[..., 0], np.broadcast_to(2 * x[inside_x], part.shape[:2]), atol=tolerance)
    np.testing.assert_allclose(part[..., 1], np.broadcast_to(2 * y[inside_y, None], part.shape[:2]), atol=tolerance)


@pytest.mark.parametrize("shape", [(37, 53), (2, 37, 53)])
def test_maps_take_the_id_beneath_each_centre(shape):
    maps = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    for source, target, size in [
        ((0, 0, 53, 37), (0, 0, 20, 15), (15, 20)),
        ((10, 3, 21, 30), (4, 2, 37, 29), (40, 50)),
        ((7, 7, 8, 8), (0, 0, 5, 5), (5, 5)),
    ]:
        (sx1, sy1, sx2, sy2), (x1, y1, x2, y2) = source, target
        a, b = (x2 - x1) / (sx2 - sx1), (y2 - y1) / (sy2 - sy1)
        transform = np.array([[a, 0, x1 - a * sx1], [0, b, y1 - b * sy1]])
        found = place_maps(maps, source, target, size, 255)
        for one, result in zip(maps.reshape(-1, 37, 53), found.reshape(-1, *size), strict=True):
            expected, certain = reference.nearest(one, transform, size, 255)
            within = np.zeros(size, bool)
            within[y1:y2, x1:x2] = True
            np.testing.assert_array_equal(result[within & certain], expected[within & certain])
            assert (result[~within] == 255).all()


def about_centre(degrees, scale, size):
    s, c = scale * math.sin(math.radians(degrees)), scale * math.cos(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    offset = np.array([size[1] / 2, size[0] / 2]) - linear @ [50, 40]
    return np.concatenate([linear, offset[:, None]], axis=1)


@pytest.mark.parametrize(("degrees", "scale"), [(10, 1.0), (-35, 1.7), (90, 1.0), (20, 0.6), (133, 0.3)])
def test_warped_pixels_come_from_where_the_map_says(degrees, scale):
    size = (48, 56)
    transform = about_centre(degrees, scale, size)
    image = warp_image(ramp(80, 100), transform, size, FILL).astype(float)
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    points = np.stack([x, y, np.ones(size)], axis=-1) @ inverse.T
    margin = 1.5 / min(scale, 1.0)
    distance = np.minimum(np.minimum(points[..., 0], 100 - points[..., 0]), np.minimum(points[..., 1], 80 - points[..., 1]))
    inside, outside = distance > margin, distance < -margin
    assert inside.sum() > 100
    np.testing.assert_allclose(image[inside][:, :2], 2 * points[inside][:, :2], atol=1.6)
    assert (image[outside] == FILL).all()


def test_warp_equals_the_reference():
    image, size = noise(30, 30), (24, 24)
    transform = about_centre(25, 1.2, size) + np.array([[0, 0, 45], [0, 0, 30]])
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    found = warp_image(image, transform, size, FILL)
    for i in range(size[0]):
        for j in range(size[1]):
            x, y, _ = inverse @ [j + 0.5, i + 0.5, 1]
            if 1 < x < 29 and 1 < y < 29:
                # OpenCV rounds the place to 1/32 pixel: at most 255/32 on each axis.
                np.testing.assert_allclose(found[i, j], reference.bilinear(image, x, y), atol=9)


def test_warp_does_not_alias():
    stripes = np.tile(np.array([[[0] * 3, [255] * 3]], np.uint8), (80, 50, 1))
    image = warp_image(stripes, about_centre(5, 0.4, (20, 20)), (20, 20), FILL)
    assert np.abs(image - 127.5).max() <= 127.5 / 3 + 1


@pytest.mark.parametrize(("degrees", "scale"), [(10, 1.0), (-35, 1.7), (20, 0.6)])
@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_warped_maps_take_the_id_beneath_each_centre(degrees, scale, dtype):
    maps = np.random.default_rng(0).integers(0, 200, (2, 80, 100))
    maps = (maps > 100) if dtype is bool else maps.astype(np.uint8)
    size = (40, 44)
    transform = about_centre(degrees, scale, size)
    found = warp_maps(maps, transform, size, 1)
    assert found.dtype == dtype and found.shape == (2, *size)
    for one, result in zip(maps, found, strict=True):
        expected, certain = reference.nearest(one, transform, size, 1)
        assert certain.mean() > 0.8
        np.testing.assert_array_equal(result[certain], expected[certain])


def test_no_maps():
    assert place_maps(np.zeros((0, 5, 5), bool), (0, 0, 5, 5), (0, 0, 3, 3), (3, 3), 0).shape == (0, 3, 3)
    assert warp_maps(np.zeros((0, 5, 5), bool), np.eye(2, 3), (3, 3), 0).shape == (0, 3, 3)


def test_colours_change_on_the_image_alone():
    image = place_image(noise(8, 8), (0, 0, 8, 8), (2, 2, 6, 6), (8, 8), FILL, recolour=lambda part: part * 0 + 200)
    assert (image[2:6, 2:6] == 200).all() and (image[0] == FILL).all()
    turned = warp_image(noise(8, 8), np.array([[1.0, 0.1, 2], [-0.1, 1.0, 2]]), (40, 40), FILL, lambda part: part * 0 + 200)
    assert (turned[6, 6] == 200).all() and (turned[30, 30] == FILL).all()
