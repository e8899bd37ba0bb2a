"""Every promise of `shapes` about its images, and the images themselves by checksum."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from cnnvision.data.shapes import drawing
from cnnvision.data.shapes.forms import CLASSES, UNIT

SAMPLE = 200


def digest(config, split, indices):
    """SHA-256 of images and annotations, in a fixed byte order."""
    total = hashlib.sha256()
    for index in indices:
        one = drawing.draw(config, split, index)
        for array in (one.image, one.instances, one.semantic):
            total.update(array.tobytes())
        for array in (one.labels, one.boxes, one.areas, one.full_areas, one.sides):
            total.update(array.astype("<i8").tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module", params=drawing.RECIPES)
def sample(request):
    """(config, its first training images)."""
    return request.param, [drawing.draw(request.param, "train", index) for index in range(SAMPLE)]


# Made by this package itself: they say that the data set is still the same, not that it is right. If they change, VERSION
# in shapes/__init__.py must.
CHECKSUMS = {
    ("shapes", "train"): "fb08477fcccce81d04ac4172a75adf6d6be2d1387cbc6d7a1dbdb38a0e5845a7",
    ("shapes", "val"): "1111e06c8f9187b60d488ca34fdce982eb011de0bacf8ba64d2e47df2f6367b9",
    ("single", "train"): "f2d2db5d7a76ff5e0f5e086185c6bb1b8290be6634d0aa9bedb158b538d1deba",
    ("single", "val"): "ff6369b3927fd868b1f5169eb70387dab2d04c639d467e9584cb95a7c5ab38e0",
}


@pytest.mark.parametrize(("config", "split"), CHECKSUMS)
def test_pixels_and_annotations_are_those_of_this_version(config, split):
    """Every tenth image of the data set."""
    assert digest(config, split, range(0, drawing.SPLITS[split], 10)) == CHECKSUMS[config, split]


def test_pixels_do_not_depend_on_the_instructions_of_the_processor():
    """NumPy without the vector instructions that it chooses at run time draws the same."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    chosen = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    program = "import test_drawing as t; print(t.digest('shapes', 'train', range(12)))"
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(chosen)}
    environment["PYTHONPATH"] = os.pathsep.join((os.path.dirname(__file__), *filter(None, sys.path)))
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest("shapes", "train", range(12))


def test_an_image_does_not_depend_on_those_before_it(sample):
    config, drawings = sample
    alone = drawing.draw(config, "train", 7)
    for name in ("image", "instances", "labels", "boxes", "areas", "full_areas", "sides"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(drawings[7], name))


def test_no_two_images_are_the_same(sample):
    config, drawings = sample
    images = [one.image.tobytes() for one in drawings] + [
        drawing.draw(config, "val", index).image.tobytes() for index in range(20)
    ]
    assert len(set(images)) == len(images)


def test_the_configs_draw_different_images():
    assert not np.array_equal(drawing.draw("shapes", "train", 0).image, drawing.draw("single", "train", 0).image)


def test_types_and_shapes(sample):
    for one in sample[1]:
        count = len(one.labels)
        assert (one.image.shape, one.image.dtype) == ((128, 128, 3), np.uint8)
        assert (one.instances.shape, one.instances.dtype) == ((128, 128), np.uint8)
        assert (one.semantic.shape, one.semantic.dtype) == ((128, 128), np.uint8)
        assert one.boxes.shape == (count, 4)
        assert one.areas.shape == one.full_areas.shape == one.sides.shape == (count,)
        assert set(np.unique(one.instances)) == set(range(count + 1))


def test_boxes_and_areas_are_those_of_the_masks(sample):
    for one in sample[1]:
        for number, (box, area) in enumerate(zip(one.boxes.tolist(), one.areas.tolist(), strict=True), start=1):
            pixels = [(x, y) for y, x in np.argwhere(one.instances == number).tolist()]
            columns, rows = zip(*pixels, strict=True)
            assert box == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
            assert area == len(pixels)


def test_semantic_map_is_the_class_of_the_instance(sample):
    for one in sample[1]:
        expected = np.zeros((128, 128), np.uint8)
        for number, label in enumerate(one.labels, start=1):
            expected[one.instances == number] = label + 1
        np.testing.assert_array_equal(one.semantic, expected)


def test_enough_of_each_object_is_visible(sample):
    for one in sample[1]:
        assert (one.areas >= 0.4 * one.full_areas).all()
        assert (one.areas >= np.minimum(64, one.full_areas * 9 // 10)).all()
        assert (one.areas <= one.full_areas).all()


def test_numbers_of_objects_and_sides(sample):
    config, drawings = sample
    least, most = {"shapes": (1, 8), "single": (1, 1)}[config]
    assert {len(one.labels) for one in drawings} == set(range(least, most + 1))
    shortest, longest = {"shapes": (12, 80), "single": (24, 96)}[config]
    for one in drawings:
        assert one.sides.min() >= shortest * UNIT and one.sides.max() <= longest * UNIT
        extent = np.maximum(*(one.boxes[:, 2:] - one.boxes[:, :2]).T)
        assert (2 * extent * UNIT <= 2 * one.sides + 3 * UNIT).all()
        whole = one.areas == one.full_areas
        assert (extent[whole] * UNIT >= one.sides[whole] - 6 * UNIT).all()


def chi_square(counts):
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum()


def test_classes_sizes_and_numbers_are_even(sample):
    """Chi-square below its 0.999 quantile for the degrees of freedom (5, 7, 7)."""
    config, drawings = sample
    assert chi_square(np.bincount(np.concatenate([one.labels for one in drawings]), minlength=len(CLASSES))) < 20.5
    shortest, longest = (UNIT * side for side in drawing.RECIPES[config].sides)
    sides = np.concatenate([one.sides for one in drawings])
    eighths = np.floor(np.log(sides / shortest) / np.log(longest / shortest) * 8 * 0.999999).astype(int)
    assert chi_square(np.bincount(eighths, minlength=8)) < 24.3
    if config == "shapes":
        assert chi_square(np.bincount([len(one.labels) for one in drawings])[1:]) < 24.3


def test_area_ranges_hold_a_third_of_the_objects_each(sample):
    config, drawings = sample
    ranges = drawing.RECIPES[config].area_ranges
    assert list(ranges) == ["small", "medium", "large"]
    areas = np.concatenate([one.areas for one in drawings])
    for least, most in ranges.values():
        assert 0.27 < np.mean((least <= areas) & (areas < most)) < 0.4
    bounds = list(ranges.values())
    assert bounds[0][0] == 0 and bounds[2][1] >= 128**2
    assert bounds[0][1] == bounds[1][0] and bounds[1][1] == bounds[2][0]


def test_objects_often_hide_each_other():
    """Of the objects of `shapes` many are hidden in part, a good number of them by more than a third."""
    drawings = [drawing.draw("shapes", "val", index) for index in range(100)]
    visible = np.concatenate([one.areas / one.full_areas for one in drawings])
    assert np.mean(visible < 0.95) > 0.3 and np.mean(visible < 0.67) > 0.08


def test_a_ring_shows_what_lies_behind():
    """Some pixels within rings belong to the background, some to other objects."""
    behind = set()
    for index in range(60):
        one = drawing.draw("shapes", "val", index)
        for number in np.flatnonzero(one.labels == CLASSES.index("ring")) + 1:
            x1, y1, x2, y2 = one.boxes[number - 1]
            middle = one.instances[(y1 + y2) // 2, (x1 + x2) // 2]
            behind.add(
                "background" if middle == 0 else "itself" if middle == number else "farther" if middle < number else "nearer"
            )
    assert {"background", "farther", "nearer"} <= behind


def test_colours_do_not_tell_the_class():
    """The mean colours of the six classes in `single` differ by no more than chance (one-way F test, p = 0.001)."""
    drawings = [drawing.draw("single", "val", index) for index in range(240)]
    labels = np.concatenate([one.labels for one in drawings])
    colours = np.stack([one.image[one.instances > 0].mean(axis=0) for one in drawings])
    groups = [colours[labels == label] for label in range(len(CLASSES))]
    between = sum(len(group) * (group.mean(axis=0) - colours.mean(axis=0)) ** 2 for group in groups) / 5
    within = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in groups) / (len(colours) - 6)
    assert (between / within < 4.3).all()
