"""data/augment.py: image, boxes, masks and maps go through the one map that is reported, whatever is drawn."""

import dataclasses

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment import apply, fitted, sample, tight_boxes
from cnnvision.data.options import AugmentOptions
from cnnvision.ops.geometry import map_boxes, to_original
from cnnvision.task import InputSpec
from cnnvision.types import IGNORE, Example, Objects
from tests.data.drawn import draw

FITS = ("stretch", "letterbox", "crop")
GEOMETRY = {
    "flip": AugmentOptions(flip=1.0),
    "flip_vertical": AugmentOptions(flip_vertical=1.0),
    "crop": AugmentOptions(crop_area=(0.3, 0.9), crop_aspect=(0.7, 1.4)),
    "zoom out": AugmentOptions(crop_area=(1.2, 4.0)),
    "translate": AugmentOptions(translate=0.3),
    "rotate": AugmentOptions(rotate=40.0),
    "all": AugmentOptions(0.5, 0.5, (0.4, 2.0), (0.75, 1.33), 0.1, 15.0),
}


def spec_of(fit="stretch", out=(64, 96)):
    return InputSpec(sizes=(out,), target="objects", fit=fit, max_objects=8)


def ramp(height, width):
    """Red is x / width, green y / height, of 250."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.round(np.stack([250 * x / width, 250 * y / height, 0 * x], axis=-1)).astype(np.uint8)


def bare(image):
    return Example("ramp", image.shape[:2], image)


def drawn_with(options, example, out, fit, draws=12, keep=None):
    spec = spec_of(fit, out)
    for i in range(draws):
        yield sample(order.example_rng(0, i, example.id), options, example.size, out, spec, keep)


# The fit alone ------------------------------------------------------------------------------------------------------------


def test_stretch_by_hand():
    augmentation = fitted((50, 200), (100, 100), spec_of("stretch"))
    np.testing.assert_allclose(augmentation.transform, [[0.5, 0, 0], [0, 2, 0]])
    assert augmentation.size == (100, 100)


def test_letterbox_by_hand():
    augmentation = fitted((50, 200), (100, 100), spec_of("letterbox"))
    np.testing.assert_allclose(augmentation.transform, [[0.5, 0, 0], [0, 0.5, 0]])
    assert augmentation.size == (25, 100)  # at the top left; the batch pads below


def test_crop_by_hand():
    """Shorter side 100 -> 128 (= 112 / 0.875), then the centre: 87.5 original pixels, rounded to whole ones."""
    augmentation = fitted((100, 300), (112, 112), dataclasses.replace(spec_of("crop"), crop_fraction=0.875))
    x1, y1, x2, y2 = augmentation.source
    assert (x2 - x1, y2 - y1) == (88, 88) and abs((x1 + x2) / 2 - 150) <= 0.5 and abs((y1 + y2) / 2 - 50) <= 0.5
    assert augmentation.size == (112, 112)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (50, 2000), (2000, 50), (64, 96), (97, 31)])
def test_any_size_fits(fit, size):
    image = np.full((*size, 3), 77, np.uint8)
    row = apply(fitted(size, (64, 96), spec_of(fit)), bare(image), 3)
    assert row.index == 3 and row.image.dtype == np.uint8
    assert 1 <= row.image.shape[0] <= 64 and 1 <= row.image.shape[1] <= 96
    assert (row.image == 77).all()
    if fit != "letterbox":
        assert row.image.shape == (64, 96, 3)
    else:
        assert row.image.shape[0] == 64 or row.image.shape[1] == 96


@pytest.mark.parametrize("fit", FITS)
def test_boxes_come_back_from_the_input(fit):
    size, boxes = (375, 500), np.array([[200, 150, 300, 250], [190, 180, 240, 300.0]], np.float32)
    transform = fitted(size, (300, 300), spec_of(fit)).transform.astype(np.float32)
    back = to_original(map_boxes(boxes, transform).astype(np.float32), transform, size)
    np.testing.assert_allclose(back, boxes, atol=1e-2)


# Pixels and the map -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("size", [(80, 60), (150, 240)])
def test_pixels_come_from_where_the_transform_says(name, fit, size):
    out, (height, width) = (64, 96), size
    example = bare(ramp(*size))
    fill = np.array(AugmentOptions().fill)
    for augmentation in drawn_with(GEOMETRY[name], example, out, fit):
        row = apply(augmentation, example, 0)
        inverse = np.linalg.inv(np.vstack([row.transform, [0, 0, 1]]))
        y, x = np.mgrid[: row.image.shape[0], : row.image.shape[1]] + 0.5
        points = np.stack([x, y, np.ones_like(x)], axis=-1) @ inverse.T
        scale = np.linalg.norm(inverse[:2, :2], axis=0).max()
        margin = 1.5 * max(1.0, scale)
        distance = np.min([points[..., 0], width - points[..., 0], points[..., 1], height - points[..., 1]], axis=0)
        x1, y1, x2, y2 = augmentation.source if not augmentation.angle else (0, 0, width, height)
        rim = np.min([points[..., 0] - x1, x2 - points[..., 0], points[..., 1] - y1, y2 - points[..., 1]], axis=0)
        inside, outside = (distance > margin) & (rim > margin), distance < -margin
        assert inside.any()
        expected = 250 * points[inside][:, :2] / [width, height]
        # Half a unit for the ramp's own rounding and that of each step: bilinear, two halvings, the turn; whose samples lie
        # within 1/32 pixel of their place.
        np.testing.assert_allclose(row.image[inside][:, :2], expected, atol=2.5 + 250 / min(size) / 32)
        if outside.any():
            assert np.abs(row.image[outside] - fill).max() == 0


def test_flips_are_exact():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    semantic = np.random.default_rng(1).integers(0, 9, (64, 96)).astype(np.uint8)
    example = dataclasses.replace(bare(image), semantic=semantic)
    plain = fitted((64, 96), (64, 96), spec_of())
    for flip, flip_vertical in [(True, False), (False, True), (True, True)]:
        row = apply(dataclasses.replace(plain, flip=flip, flip_vertical=flip_vertical), example, 0)
        x, y = (-1 if flip else 1), (-1 if flip_vertical else 1)
        np.testing.assert_array_equal(row.image, image[::y, ::x])
        np.testing.assert_array_equal(row.semantic, semantic[::y, ::x])


def test_quarter_turn_is_nearly_exact():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    turned = dataclasses.replace(fitted((32, 32), (32, 32), spec_of()), angle=90.0)
    row = apply(turned, dataclasses.replace(bare(image), semantic=image[..., 0]), 0)
    np.testing.assert_array_equal(row.semantic, np.rot90(image[..., 0], -1))  # clockwise as seen
    np.testing.assert_allclose(row.image, np.rot90(image, -1), atol=1)


# Objects ------------------------------------------------------------------------------------------------------------------


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return np.prod(sides) / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - np.prod(sides))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", [name for name in GEOMETRY if name not in ("rotate", "all")])
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
            np.testing.assert_array_equal(row.objects.boxes, tight_boxes(row.objects.masks))
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
    half = dataclasses.replace(fitted((100, 100), (50, 50), spec_of()), source=(50, 0, 100, 100))
    row = apply(half, example, 0, min_visible)
    assert len(row.objects.boxes) == kept
    if kept:
        np.testing.assert_allclose(row.objects.boxes, [[0, 20, 10, 30]])
        np.testing.assert_allclose(row.objects.area, [100])
    assert row.label == 2  # the class of the image is what it was, whatever is visible of it


def test_objects_outside_are_dropped_even_at_zero():
    half = dataclasses.replace(fitted((100, 100), (50, 50), spec_of()), source=(50, 0, 100, 100))
    assert len(apply(half, one_box([10, 10, 50, 30]), 0, 0.0).objects.boxes) == 0


def test_largest_is_followed_by_identity():
    boxes = np.array([[0, 0, 40, 40], [60, 60, 80, 80], [50, 0, 100, 10]], np.float32)
    objects = Objects(boxes, np.arange(3, dtype=np.int32), np.zeros(3, bool), np.array([1600, 400, 500], np.float32))
    example = Example("three", (100, 100), np.zeros((100, 100, 3), np.uint8), objects=objects)
    whole = fitted((100, 100), (100, 100), spec_of())
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
    row = apply(fitted((9, 9), (5, 5), spec_of()), bare(np.zeros((9, 9, 3), np.uint8)), 0)
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


# Drawing ------------------------------------------------------------------------------------------------------------------


def test_nothing_asked_nothing_changed():
    for fit in FITS:
        for augmentation in drawn_with(AugmentOptions(), bare(ramp(50, 80)), (64, 64), fit, draws=3):
            plain = fitted((50, 80), (64, 64), spec_of(fit))
            assert dataclasses.replace(augmentation, fill=(0, 0, 0)) == plain


CHANGES = {
    "flip": {"flip": 0.5},
    "flip_vertical": {"flip_vertical": 0.5},
    "crop_area": {"source": None, "crop_area": (0.3, 0.9)},
    "crop_aspect": {"source": None, "crop_aspect": (0.5, 2.0)},
    "translate": {"source": None, "translate": 0.2},
    "rotate": {"angle": None, "rotate": 20.0},
    "brightness": {"colours": None, "brightness": 0.4},
    "contrast": {"colours": None, "contrast": 0.4},
    "saturation": {"colours": None, "saturation": 0.4},
    "hue": {"colours": None, "hue": 0.1},
}


@pytest.mark.parametrize("option", CHANGES)
def test_every_option_changes_the_image_and_nothing_else_that_is_drawn(option):
    """Beside it, the draws of all other options stay the same: one may be switched on without another experiment."""
    example = bare(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8))
    others = dataclasses.replace(
        AugmentOptions(0.5, 0.5, (0.5, 0.9), (0.8, 1.25), 0.1, 10.0, 0.2, 0.2, 0.2, 0.05),
        **{option: getattr(AugmentOptions(), option)},
    )
    value = {key: value for key, value in CHANGES[option].items() if value is not None}
    with_it = dataclasses.replace(others, **value)
    changed = 0
    for without, drawn in zip(
        drawn_with(others, example, (64, 64), "stretch", 40),
        drawn_with(with_it, example, (64, 64), "stretch", 40),
        strict=True,
    ):
        changed += bool((apply(without, example, 0).image != apply(drawn, example, 0).image).any())
        if option not in ("flip", "flip_vertical"):
            assert (without.flip, without.flip_vertical) == (drawn.flip, drawn.flip_vertical)
        if option not in ("brightness", "contrast", "saturation", "hue"):
            assert without.colours == drawn.colours
        if option != "rotate":
            assert without.angle == drawn.angle
    assert changed > 10


def test_draws_stay_within_their_ranges():
    options = AugmentOptions(crop_area=(0.3, 0.8), crop_aspect=(0.5, 2.0), brightness=0.2, hue=0.1, rotate=5.0)
    seen = list(drawn_with(options, bare(ramp(400, 400)), (64, 64), "stretch", draws=200))
    areas = [(a.source[2] - a.source[0]) * (a.source[3] - a.source[1]) / 400**2 for a in seen]
    aspects = [(a.source[2] - a.source[0]) / (a.source[3] - a.source[1]) for a in seen]
    assert 0.25 < min(areas) < 0.35 and 0.7 < max(areas) <= 0.81
    assert 0.49 < min(aspects) < 0.6 and 1.7 < max(aspects) < 2.04
    assert abs(np.mean(np.log(aspects))) < 0.1
    assert all(abs(a.angle) <= 5 and abs(a.colours.hue) <= 0.1 and abs(a.colours.brightness - 1) <= 0.2 for a in seen)
    corners = np.array([a.source[:2] for a in seen])
    assert corners.min() == 0 and corners.max() > 150


def test_window_keeps_its_shape_where_it_does_not_fit():
    """A square window of the whole area of a 4:1 image does not fit: the largest square that does is taken."""
    options = AugmentOptions(crop_area=(1.0, 1.0), crop_aspect=(1.0 + 1e-9, 1.0 + 1e-9))
    for augmentation in drawn_with(options, bare(ramp(50, 200)), (64, 64), "crop"):
        x1, y1, x2, y2 = augmentation.source
        assert y2 - y1 == 50 and abs((x2 - x1) - 50) <= 1


def test_windows_within_the_image_leave_nothing_to_fill():
    for augmentation in drawn_with(AugmentOptions(crop_area=(0.5, 1.0)), bare(ramp(30, 40)), (64, 96), "stretch", 100):
        assert augmentation.target == (0, 0, 96, 64)


@pytest.mark.parametrize("name", ["zoom out", "translate", "rotate"])
def test_what_lies_outside_carries_no_class(name):
    example = dataclasses.replace(bare(ramp(50, 70)), semantic=np.ones((50, 70), np.uint8))
    filled = 0
    for augmentation in drawn_with(GEOMETRY[name], example, (64, 64), "stretch"):
        row = apply(augmentation, example, 0)
        outside = (row.image == AugmentOptions().fill).all(-1)
        filled += outside.sum()
        assert (row.semantic[outside] == IGNORE).all() and (row.semantic != 0).all()
        assert (row.semantic == 1).any()
    assert filled > 1000


def test_zoom_out_shows_the_whole_image():
    for augmentation in drawn_with(AugmentOptions(crop_area=(4.0, 4.0)), bare(ramp(50, 70)), (64, 64), "stretch"):
        assert augmentation.source == (0, 0, 70, 50)
        x1, y1, x2, y2 = augmentation.target
        assert abs((x2 - x1) - 32) <= 1 and abs((y2 - y1) - 32) <= 1


def test_the_object_that_must_stay_stays():
    example = one_box([2, 2, 12, 12], (100, 100))
    options = AugmentOptions(crop_area=(0.1, 0.3), translate=0.3, rotate=30.0, min_visible=0.5)
    keep = example.objects.boxes[0]
    free = [apply(a, example, 0, 0.5).largest for a in drawn_with(options, example, (64, 64), "stretch", 60)]
    held = [apply(a, example, 0, 0.5).largest for a in drawn_with(options, example, (64, 64), "stretch", 60, keep)]
    assert free.count(None) > 20 and held.count(None) == 0


def test_geometry_falls_back_to_the_whole_image_but_keeps_flip_and_colours():
    example = one_box([0, 0, 1, 1], (100, 100))
    options = AugmentOptions(flip=1.0, crop_area=(0.05, 0.05), brightness=0.5)
    drawn = list(drawn_with(options, example, (64, 64), "stretch", 20, example.objects.boxes[0]))
    whole = [a for a in drawn if a.source == (0, 0, 100, 100)]
    assert len(whole) > 10 and all(a.flip and a.colours.brightness != 1.0 for a in whole)


def test_draws_belong_to_the_generator():
    spec = spec_of()
    first, again, other = (
        sample(order.example_rng(seed, 3, "a"), GEOMETRY["all"], (50, 60), (64, 96), spec) for seed in (1, 1, 2)
    )
    assert first == again != other
