"""data/augment/crops.py: canvases and patches are the slow reference's, and keep what SSD's and YOLO's papers say of them.

Shares of 1,000 draws are within four standard deviations of what is right, 4 · √(p · (1 − p) / 1,000).
"""

import ast
import math
import re

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment import apply, sample
from cnnvision.data.augment.crops import LEAST_OVERLAPS, PATCH_DRAWS, TRIALS, patch, zoomed_out
from cnnvision.data.options import AugmentSettings
from cnnvision.ops.geometry import invert, map_boxes
from cnnvision.settings import read
from cnnvision.types import Example, Objects
from tests.conftest import ROOT
from tests.data.drawn import bare, drawn_with, ramp, spec_of
from tests.reference import crops as reference
from tests.reference.boxes import iou

DRAWS = 1000
SIZE = (300, 400)
BOXES = np.array([[40, 30, 220, 270], [230, 100, 390, 200], [300, 250, 330, 280]], np.float32)


def example_of(boxes, size=SIZE):
    count, boxes = len(boxes), np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.arange(count, dtype=np.int32)
    objects = Objects(boxes, labels, np.zeros(count, bool), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return Example("drawn", size, np.zeros((*size, 3), np.uint8), objects=objects)


def window_of(augmentation):
    """x1 y1 x2 y2 of what is shown, original pixels."""
    height, width = augmentation.size
    return map_boxes(np.array([0.0, 0.0, width, height]), invert(augmentation.transform))


def near(share, right, draws=DRAWS):
    return abs(share - right) <= 4 * math.sqrt(right * (1 - right) / draws)


# The slow reference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(60))
def test_patches_are_those_of_the_reference(case):
    """Of images and canvases of any size, with no object or many, large ones and small ones, within the image."""
    rng = np.random.default_rng(case)
    height, width = (int(side) for side in rng.integers(1, 200, 2))
    canvas = (0.0, 0.0, float(width), float(height))
    if case % 2:
        larger = [int(side * factor) for side, factor in zip((width, height), rng.uniform(1, 4, 2), strict=True)]
        canvas = (-float(larger[0] - width), -float((larger[1] - height) // 2), float(larger[0]), float(larger[1]))
    corners = np.sort(rng.uniform(0, [[[height]], [[width]]], (2, int(rng.integers(0, 6)), 2)), axis=-1)
    boxes = np.stack([corners[1, :, 0], corners[0, :, 0], corners[1, :, 1], corners[0, :, 1]], axis=1).astype(np.float32)
    for _ in range(5):
        draws = rng.random(PATCH_DRAWS)
        found, right = patch(draws, 0.8, canvas, boxes), reference.chosen(draws, 0.8, canvas, boxes.tolist())
        assert (found is None) == (right is None)
        if found is not None:
            assert found == (right[0], right[1], right[2] - right[0], right[3] - right[1])


def test_the_first_patch_that_will_do_is_taken():
    """By hand: of the choice of IoU 0.3, which comes first, the third patch; the first is too small, the second too wide."""
    draws = np.full(PATCH_DRAWS, 0.999)
    draws[0], draws[1:8] = 0.0, [0.3, 0.4, 0.0, 0.5, 0.6, 0.7, 0.8]
    trials = draws[8:].reshape(len(LEAST_OVERLAPS), TRIALS, 4)
    trials[2, 0] = [0.0, 0.0, 0.3, 0.5]  # 30 × 30 pixels within the box: an IoU of 0.25
    trials[2, 1] = [0.999, 0.0, 0.0, 0.5]
    trials[2, 2] = [2 / 7, 3 / 7, 0.0, 0.999]  # 0.5 and 0.6 of the sides, at the left and at the bottom
    box = np.array([[0.0, 20.0, 60.0, 80.0]])  # 50 × 40 pixels in common of 50 × 60 and 60 × 60
    assert patch(draws, 1.0, (0.0, 0.0, 100.0, 100.0), box) == (0.0, 40.0, 50.0, 60.0)
    assert iou((0, 40, 50, 100), box[0]) == 2000 / 4600


def test_where_no_patch_will_do_the_whole_stays():
    draws = np.random.default_rng(0).random((100, PATCH_DRAWS))
    strip = (0.0, 0.0, 1000.0, 50.0)  # no patch of it is less than six times as wide as high
    assert {patch(each, 1.0, strip, np.array([[0.0, 0.0, 1000.0, 50.0]])) for each in draws} == {None}
    assert {patch(each, 1.0, (0.0, 0.0, 90.0, 90.0), np.zeros((0, 4))) for each in draws} == {None}


# What the papers say ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "boxes", "most"), [*((k, BOXES, 1.0) for k in range(6)), (0, BOXES[2:], 0.1)])
def test_a_patch_has_the_least_overlap_that_was_chosen(choice, boxes, most):
    """Of 1,000 times fifty patches; the first choice takes any, also of an object that none has an IoU of 0.1 with."""
    rng, found = np.random.default_rng(choice), 0
    for _ in range(DRAWS):
        draws = rng.random(PATCH_DRAWS)
        draws[1 : 1 + 7] = [k != choice for k in range(6)] + [0.5]  # this one first, then the whole
        if (window := patch(draws, 1.0, (0.0, 0.0, 400.0, 300.0), boxes)) is not None:
            x, y, width, height = window
            shown = (x, y, x + width, y + height)
            overlap = max(iou(shown, box) for box in boxes if reference.centre_within(box, shown))
            assert LEAST_OVERLAPS[choice] <= overlap < most
            found += 1
    assert found == DRAWS if choice < 4 else found >= 5  # the best patch of fifty seldom has an IoU of 0.9


def test_sides_and_aspects_of_patches_are_within_their_ranges():
    seen = [
        a for a in drawn_with(AugmentSettings(iou_crop=1.0), example_of(BOXES), (64, 64), "stretch", DRAWS) if a.by_centre
    ]
    windows = np.array([a.source for a in seen])
    assert len(seen) > 500 and all(a.target == (0, 0, 64, 64) for a in seen)  # within the image
    width, height = (windows[:, 2:] - windows[:, :2]).T
    for side, length in ((width, 400), (height, 300)):
        assert 0.3 * length - 0.5 <= side.min() < 0.35 * length and 0.95 * length < side.max() <= length
    aspects = width / height
    assert 0.5 <= aspects.min() < 0.6 and 1.8 < aspects.max() <= 2.0
    assert windows[:, :2].min() == 0 and windows[:, 2].max() == 400 and windows[:, 3].max() == 300
    assert len({tuple(window) for window in windows}) == len(windows)


@pytest.mark.parametrize(("probability", "objects", "share"), [(1.0, 1, 0.5), (0.4, 1, 0.2), (1.0, 0, 0.0)])
def test_patches_are_as_frequent_as_asked(probability, objects, share):
    """A tiny object has an IoU of 0.1 with no patch: of the whole and of any patch, the first of the two is taken."""
    example = example_of([[200, 150, 202, 152]][:objects])
    options = AugmentSettings(iou_crop=probability)
    cut = [a.by_centre for a in drawn_with(options, example, (64, 64), "stretch", DRAWS)]
    whole = [a.source == (0, 0, 400, 300) for a in drawn_with(options, example, (64, 64), "stretch", DRAWS)]
    assert near(np.mean(cut), share) and np.array_equal(cut, np.logical_not(whole))


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_a_canvas_has_the_image_somewhere_in_it(fit):
    options = AugmentSettings(zoom_out=(1.0, 4.0), fill=(9, 8, 7))
    factors, places, example = [], [], bare(np.full((*SIZE, 3), 100, np.uint8))
    for augmentation in drawn_with(options, example, (300, 400), fit, DRAWS):
        assert augmentation.source == (0, 0, 400, 300)  # all of the image is shown
        x1, y1, x2, y2 = augmentation.target
        if augmentation.target != (0, 0, 400, 300):
            zoomed = augmentation
            factors.append(400 / (x2 - x1))
            places.append((x1 / max(1, 400 - x2 + x1), y1 / max(1, 300 - y2 + y1)))
            assert abs(400 / (x2 - x1) - 300 / (y2 - y1)) < 0.1
    assert near(len(factors) / DRAWS, 0.5)
    assert 1 <= min(factors) < 1.05 and 3.9 < max(factors) < 4.1
    assert abs(np.mean(factors) - 2.5) < 4 * 3 / math.sqrt(12 * len(factors))  # uniform
    assert np.abs(np.mean(places, axis=0) - 0.5).max() < 4 / math.sqrt(12 * len(factors))
    x1, y1, x2, y2 = zoomed.target
    right = np.full((300, 400, 3), (9, 8, 7))
    right[y1:y2, x1:x2] = 100
    np.testing.assert_array_equal(apply(zoomed, example, 0).image, right)


def test_canvases_are_of_whole_pixels_and_hold_the_image():
    options = AugmentSettings(zoom_out=(1.0, 4.0), zoom_out_probability=1.0)
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        height, width = (int(side) for side in rng.integers(1, 100, 2))
        x, y, w, h = zoomed_out(rng.random(4), options, (height, width))
        assert {float(v) == int(v) for v in (x, y, w, h)} == {True}
        assert x <= 0 and y <= 0 and x + w >= width and y + h >= height and w <= 4 * width and h <= 4 * height


def test_a_patch_is_cut_out_of_the_canvas():
    """Sides are shares of the canvas's, and the window may reach beyond the image on any side."""
    options = AugmentSettings(zoom_out=(4.0, 4.0), zoom_out_probability=1.0, iou_crop=1.0)
    example, windows = example_of([[20, 20, 380, 280]]), []
    for augmentation in drawn_with(options, example, (120, 160), "stretch", DRAWS):
        if augmentation.by_centre:
            windows.append(window_of(augmentation))
            assert len(apply(augmentation, example, 0).objects.boxes) == 1
    sides = (np.array(windows)[:, 2:] - np.array(windows)[:, :2]) / [1600, 1200]
    rounding = 1.5 / 120  # where the image ends is rounded to whole pixels of the input
    assert 0.3 - rounding <= sides.min() < 0.35 and 0.95 < sides.max() <= 1 + rounding
    beyond = np.array(windows) * [1, 1, -1, -1] < [-20, -20, -420, -320]
    assert (beyond.mean(axis=0) > 0.2).all()


# Which objects stay -------------------------------------------------------------------------------------------------------


def test_in_a_patch_the_objects_stay_whose_centre_does():
    """As the reference has them, cut to the patch; `min_visible` does not count."""
    example, kept_of_little, gone_of_much = example_of(BOXES), 0, 0
    options = AugmentSettings(iou_crop=1.0, min_visible=1.0)
    for augmentation in drawn_with(options, example, (300, 400), "stretch", DRAWS):
        x1, y1, x2, y2 = augmentation.source
        objects = apply(augmentation, example, 0, options.min_visible).objects
        right = reference.kept(BOXES.tolist(), augmentation.source)
        assert list(objects.labels) == list(right) and len(right) >= 1
        scale = np.array([400 / (x2 - x1), 300 / (y2 - y1)] * 2)
        np.testing.assert_allclose(objects.boxes, (np.array(list(right.values())) - [x1, y1, x1, y1]) * scale, atol=1e-3)
        for k, box in enumerate(BOXES):
            left = np.prod(np.maximum(np.minimum(box[2:], (x2, y2)) - np.maximum(box[:2], (x1, y1)), 0))
            share = left / np.prod(box[2:] - box[:2])
            kept_of_little += k in right and share < 0.35
            gone_of_much += k not in right and share > 0.45
    assert kept_of_little > 10 and gone_of_much > 10  # each rule would have decided otherwise


def test_proposals_stay_as_objects_do():
    example = example_of([[0, 0, 100, 300], [90, 0, 400, 300]])
    example = Example(example.id, SIZE, example.image, objects=example.objects, proposals=example.objects.boxes)
    for augmentation in drawn_with(AugmentSettings(iou_crop=1.0), example, (64, 64), "stretch", 50):
        row = apply(augmentation, example, 0)
        np.testing.assert_array_equal(row.proposals, row.objects.boxes)


def test_the_centre_of_what_must_stay_stays():
    example = example_of(BOXES)
    options = AugmentSettings(iou_crop=1.0, zoom_out=(1.0, 2.0), rotate=10.0)
    largest = lambda *keep: [
        apply(a, example, 0).largest for a in drawn_with(options, example, (64, 64), "stretch", 200, *keep)
    ]
    assert largest().count(None) > 20 and largest(BOXES[0]).count(None) == 0


# Draws that depend on nothing else ----------------------------------------------------------------------------------------


def test_crops_leave_all_other_draws_as_they_are():
    others = {"flip": 0.5, "flip_vertical": 0.5, "rotate": 20.0, "brightness": 0.4, "contrast": 0.4, "hue": 0.1}
    canvas, cut = {"zoom_out": (1.0, 4.0)}, {"iou_crop": 1.0}
    example, fields = example_of(BOXES), ("flip", "flip_vertical", "angle", "colours")
    drawn = lambda **more: list(drawn_with(AugmentSettings(**others, **more), example, (64, 64), "stretch", 200))
    plain, canvases, cuts, both = drawn(), drawn(**canvas), drawn(**cut), drawn(**canvas, **cut)
    for field in fields:
        assert all(
            getattr(one, field) == getattr(two, field)
            for more in (canvases, cuts, both)
            for one, two in zip(plain, more, strict=True)
        )
    for alone, joined in zip(canvases, both, strict=True):  # the canvas is the same, where no patch of it was cut
        assert joined.by_centre or alone == joined
    assert any(joined.by_centre for joined in both) and not all(joined.by_centre for joined in both)
    for unturned, turned in zip(
        drawn_with(AugmentSettings(**canvas, **cut), example, (64, 64), "stretch", 200), both, strict=True
    ):
        assert (unturned.source, unturned.target) == (turned.source, turned.target)


def test_sample_draws_the_same_from_the_same_generator():
    options = AugmentSettings(flip=0.5, zoom_out=(1.0, 4.0), iou_crop=1.0)
    first, again, other = (
        sample(order.example_rng(seed, 3, "a"), options, SIZE, (64, 96), spec_of(), None, BOXES) for seed in (1, 1, 2)
    )
    assert first == again != other


# The recipes of docs/data.md ----------------------------------------------------------------------------------------------


def documented(name):
    """The settings of a row of its table."""
    row = next(line for line in (ROOT / "docs" / "data.md").read_text().splitlines() if line.startswith(f"| {name} ("))
    keys = {key: ast.literal_eval(value) for key, value in re.findall(r"`(\w+)=([^`]+)`", row)}
    return read(AugmentSettings, keys, "config.data.augment")


def test_scale_and_translation_of_yolo_stay_within_a_fifth():
    """Sides of 0.8 to 1.2 of the image's, and its centre moved by a fifth of them at most (section 2.2)."""
    options = documented("YOLO")
    scales, shifts = [], []
    for augmentation in drawn_with(options, bare(ramp(*SIZE)), (300, 400), "stretch", DRAWS):
        x1, y1, x2, y2 = window_of(augmentation)
        scales.append(((x2 - x1) / 400, (y2 - y1) / 300))
        shifts.append(((x1 + x2 - 400) / 800, (y1 + y2 - 300) / 600))
        assert abs(augmentation.colours.hue) <= 0.1 and 0.5 <= augmentation.colours.saturation <= 1.5
    rounding = 1.5 / 300  # half a pixel at each end, of the original and of the input
    assert 0.8 - rounding <= np.min(scales) < 0.82 and 1.18 < np.max(scales) <= 1.2 + rounding
    assert 0.15 < np.max(np.abs(shifts)) <= 0.2 + rounding


def test_ssds_recipe_has_the_values_of_its_paper():
    options = documented("SSD")
    assert (options.zoom_out, options.zoom_out_probability, options.iou_crop, options.flip) == ((1.0, 4.0), 0.5, 1.0, 0.5)
    assert (options.brightness, options.contrast, options.saturation) == (pytest.approx(32 / 255, abs=1e-3), 0.5, 0.5)
    assert options.hue == 18 / 360
