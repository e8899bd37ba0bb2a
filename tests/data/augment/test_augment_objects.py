"""data/augment/__init__.py: boxes, masks and maps stay with the image, and an object that hardly shows goes."""

import dataclasses

import numpy as np
import pytest

from cnnvision.data.augment import apply, resized
from cnnvision.data.options import AugmentSettings
from cnnvision.ops.geometry import tight_boxes
from cnnvision.types import IGNORE, Example, Objects
from tests.data.drawn import FITS, GEOMETRY, bare, draw, drawn_with, spec_of


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return np.prod(sides) / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - np.prod(sides))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", [name for name in GEOMETRY if not GEOMETRY[name].rotate])
def test_a_rectangle_stays_in_its_box(name, fit):
    """The pixels of a bright rectangle, found in the result by their colour, fill its box: without masks."""
    image = np.zeros((200, 260, 3), np.uint8)
    image[60:150, 70:190] = 255
    box = np.array([[70, 60, 190, 150]], np.float32)
    objects = Objects(box, np.zeros(1, np.int32), np.zeros(1, bool), np.array([10800.0], np.float32))
    example = dataclasses.replace(bare(image), objects=objects)
    options = dataclasses.replace(GEOMETRY[name], fill=(0, 0, 0))
    for augmentation in drawn_with(options, example, (128, 160), fit, draws=20):
        row = apply(augmentation, example, 0)
        for found in row.objects.boxes:
            seen = tight_boxes((row.image[..., 0] > 127)[None])[0]
            assert iou(found, seen) >= 0.9


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", GEOMETRY)
def test_masks_boxes_and_image_agree(name, fit):
    for seed in (0, 1, 2, 5):
        example = draw(f"image {seed}", seed)
        for augmentation in drawn_with(dataclasses.replace(GEOMETRY[name], fill=(0, 0, 0)), example, (128, 128), fit, 6):
            row = apply(augmentation, example, 0)
            assert (np.abs(row.objects.boxes - tight_boxes(row.objects.masks)) < 1).all()
            bright = row.image.max(axis=2) > 145
            union = row.objects.masks.any(axis=0)
            # What lies between (a border of a pixel on either side, or an object dropped at the rim) is left aside.
            shrunk = bright & np.roll(bright, 2, 0) & np.roll(bright, -2, 0) & np.roll(bright, 2, 1) & np.roll(bright, -2, 1)
            if len(row.objects.boxes) == len(example.objects.boxes):
                assert (union & shrunk).sum() >= 0.98 * shrunk.sum()
                assert union.sum() <= bright.sum() * 1.1 + 60
            for mask, label in zip(row.objects.masks, row.objects.labels, strict=True):
                assert (row.semantic[mask] == label + 1).mean() > 0.98
            assert set(np.unique(row.semantic)) <= {0, 1, 2, 3, IGNORE}


def test_a_box_keeps_its_fractions_of_a_pixel_where_it_fits_its_mask():
    masks = np.zeros((2, 40, 40), bool)
    masks[:, 10:30, 5:20] = True
    boxes = np.array([[5.25, 9.5, 20.5, 29.75], [5.25, 9.5, 23.5, 29.75]], np.float32)  # the second one does not fit
    objects = Objects(boxes, np.zeros(2, np.int32), np.zeros(2, bool), np.full(2, 300, np.float32), masks)
    example = dataclasses.replace(bare(np.zeros((40, 40, 3), np.uint8)), objects=objects)
    row = apply(resized((40, 40), (40, 40), spec_of("stretch", (40, 40))), example, 0)
    np.testing.assert_array_equal(row.objects.boxes, [boxes[0], [5, 10, 20, 30]])
    assert row.lost == 0


def test_an_object_without_a_pixel_of_its_mask_is_counted():
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 31, 31], masks[1, 8:24, 8:24] = True, True  # of every eighth row and column, none meets the first
    boxes = np.array([[31, 31, 32, 32], [8, 8, 24, 24]], np.float32)
    objects = Objects(boxes, np.zeros(2, np.int32), np.zeros(2, bool), np.ones(2, np.float32), masks)
    example = dataclasses.replace(bare(np.zeros((64, 64, 3), np.uint8)), objects=objects)
    row = apply(resized((64, 64), (8, 8), spec_of("stretch", (8, 8))), example, 0)
    assert row.lost == 1 and len(row.objects.boxes) == 1


def test_boxes_of_the_plain_path_contain_the_masks():
    """Without masks a turned box is the one around its turned corners: never smaller than what is visible."""
    example = draw("image 2", 2)
    bare_objects = dataclasses.replace(example.objects, masks=None)
    for augmentation in drawn_with(GEOMETRY["rotate"], example, (128, 128), "stretch"):
        masked = apply(augmentation, example, 0, min_visible=0.0).objects
        boxed = apply(augmentation, dataclasses.replace(example, objects=bare_objects), 0, min_visible=0.0).objects
        assert boxed.masks is None and len(boxed.boxes) == len(masked.boxes)
        assert (boxed.boxes[:, :2] <= masked.boxes[:, :2] + 1).all() and (
            boxed.boxes[:, 2:] >= masked.boxes[:, 2:] - 1
        ).all()


def one_box(box, size=(100, 100), crowd=False):
    box = np.array([box], np.float32)
    area = np.prod(box[:, 2:] - box[:, :2], axis=1)
    objects = Objects(box, np.array([2], np.int32), np.array([crowd]), area)
    return Example("one", size, np.zeros((*size, 3), np.uint8), objects=objects)


@pytest.mark.parametrize(("min_visible", "kept"), [(0.0, 1), (0.4, 1), (0.6, 0)])
def test_objects_that_hardly_show_are_dropped(min_visible, kept):
    example = one_box([40, 40, 60, 60])
    half = dataclasses.replace(resized((100, 100), (50, 50), spec_of()), source=(50, 0, 100, 100))
    row = apply(half, example, 0, min_visible)
    assert len(row.objects.boxes) == kept
    if kept:
        np.testing.assert_allclose(row.objects.boxes, [[0, 20, 10, 30]])
        np.testing.assert_allclose(row.objects.area, [100])
    assert row.label == 2  # the class of the image is what it was, whatever is visible of it


def test_objects_outside_are_dropped_even_at_zero():
    half = dataclasses.replace(resized((100, 100), (50, 50), spec_of()), source=(50, 0, 100, 100))
    assert len(apply(half, one_box([10, 10, 50, 30]), 0, 0.0).objects.boxes) == 0


def test_largest_is_followed_by_identity():
    boxes = np.array([[0, 0, 40, 40], [60, 60, 80, 80], [50, 0, 100, 10]], np.float32)
    objects = Objects(boxes, np.arange(3, dtype=np.int32), np.zeros(3, bool), np.array([1600, 400, 500], np.float32))
    example = Example("three", (100, 100), np.zeros((100, 100, 3), np.uint8), objects=objects)
    whole = resized((100, 100), (100, 100), spec_of())
    assert apply(whole, example, 0).largest == 0
    right = dataclasses.replace(whole, source=(50, 0, 100, 100))
    row = apply(right, example, 0)
    assert list(row.objects.labels) == [1, 2] and row.largest is None and row.label == 0
    crowd = dataclasses.replace(example, objects=dataclasses.replace(objects, crowd=np.array([True, False, False])))
    row = apply(right, crowd, 0)
    assert row.largest == 1 and row.label == 2  # the crowd is no candidate; [50, 0, 100, 10] is larger than [60, 60, 80, 80]


def test_images_without_objects():
    example = draw("image 4", 4)
    assert len(example.objects.boxes) == 0
    for augmentation in drawn_with(GEOMETRY["all"], example, (64, 64), "letterbox"):
        row = apply(augmentation, example, 0)
        assert row.objects.boxes.shape == (0, 4) and row.objects.masks.shape[0] == 0
        assert row.largest is None and row.label is None
    row = apply(resized((9, 9), (5, 5), spec_of()), bare(np.zeros((9, 9, 3), np.uint8)), 0)
    assert row.objects is None and row.semantic is None and row.label is None


def test_the_example_is_left_as_it_is():
    example = draw("image 2", 2)
    before = {field: np.copy(getattr(example, field)) for field in ("image", "semantic")}
    strong = dataclasses.replace(GEOMETRY["all"], brightness=0.5, hue=0.3)
    for fit in FITS:
        for augmentation in drawn_with(strong, example, (64, 64), fit):
            apply(augmentation, example, 0)
    for field, value in before.items():
        np.testing.assert_array_equal(getattr(example, field), value)


def test_the_object_that_must_stay_stays():
    example = one_box([2, 2, 12, 12], (100, 100))
    options = AugmentSettings(crop_area=(0.1, 0.3), translate=0.3, rotate=30.0, min_visible=0.5)
    keep = example.objects.boxes[0]
    free = [apply(a, example, 0, 0.5).largest for a in drawn_with(options, example, (64, 64), "stretch", 60)]
    held = [apply(a, example, 0, 0.5).largest for a in drawn_with(options, example, (64, 64), "stretch", 60, keep)]
    assert free.count(None) > 20 and held.count(None) == 0


def test_geometry_falls_back_to_the_whole_image_but_keeps_flip_and_colours():
    example = one_box([0, 0, 1, 1], (100, 100))
    options = AugmentSettings(flip=1.0, crop_area=(0.05, 0.05), brightness=0.5)
    drawn = list(drawn_with(options, example, (64, 64), "stretch", 20, example.objects.boxes[0]))
    whole = [a for a in drawn if a.source == (0, 0, 100, 100)]
    assert len(whole) > 10 and all(a.flip and a.colours.brightness != 1.0 for a in whole)
