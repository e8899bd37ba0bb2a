"""data/augment/__init__.py: image, boxes, masks and maps go through the one map that is reported, whatever is drawn."""

import dataclasses

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment import apply, resized, sample
from cnnvision.data.options import AugmentSettings
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import map_boxes, to_original
from cnnvision.types import IGNORE, Example
from tests.data.drawn import FITS, GEOMETRY, bare, drawn_with, ramp, spec_of

# The fit alone ------------------------------------------------------------------------------------------------------------


def test_stretch_by_hand():
    augmentation = resized((50, 200), (100, 100), spec_of("stretch"))
    np.testing.assert_allclose(augmentation.transform, [[0.5, 0, 0], [0, 2, 0]])
    assert augmentation.size == (100, 100)


def test_letterbox_by_hand():
    augmentation = resized((50, 200), (100, 100), spec_of("letterbox"))
    np.testing.assert_allclose(augmentation.transform, [[0.5, 0, 0], [0, 0.5, 0]])
    assert augmentation.size == (25, 100)  # at the top left; the batch pads below


def test_crop_by_hand():
    """Shorter side 100 -> 128 (= 112 / 0.875), then the centre: 87.5 original pixels, rounded to whole ones."""
    augmentation = resized((100, 300), (112, 112), dataclasses.replace(spec_of("crop"), crop_fraction=0.875))
    x1, y1, x2, y2 = augmentation.source
    assert (x2 - x1, y2 - y1) == (88, 88) and abs((x1 + x2) / 2 - 150) <= 0.5 and abs((y1 + y2) / 2 - 50) <= 0.5
    assert augmentation.size == (112, 112)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (50, 2000), (2000, 50), (64, 96), (97, 31)])
def test_any_size_fits(fit, size):
    image = np.full((*size, 3), 77, np.uint8)
    row = apply(resized(size, (64, 96), spec_of(fit)), bare(image), 3)
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
    transform = resized(size, (300, 300), spec_of(fit)).transform.astype(np.float32)
    back = to_original(map_boxes(boxes, transform).astype(np.float32), transform, size)
    np.testing.assert_allclose(back, boxes, atol=1e-2)


# Pixels and the map -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("size", [(80, 60), (150, 240)])
def test_pixels_come_from_where_the_transform_says(name, fit, size):
    out, (height, width) = (64, 96), size
    example = bare(ramp(*size))
    fill = np.array(AugmentSettings().fill)
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
    plain = resized((64, 96), (64, 96), spec_of())
    for flip, flip_vertical in [(True, False), (False, True), (True, True)]:
        row = apply(dataclasses.replace(plain, flip=flip, flip_vertical=flip_vertical), example, 0)
        x, y = (-1 if flip else 1), (-1 if flip_vertical else 1)
        np.testing.assert_array_equal(row.image, image[::y, ::x])
        np.testing.assert_array_equal(row.semantic, semantic[::y, ::x])


def test_quarter_turn_is_nearly_exact():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    turned = dataclasses.replace(resized((32, 32), (32, 32), spec_of()), angle=90.0)
    row = apply(turned, dataclasses.replace(bare(image), semantic=image[..., 0]), 0)
    np.testing.assert_array_equal(row.semantic, np.rot90(image[..., 0], -1))  # clockwise as seen
    np.testing.assert_allclose(row.image, np.rot90(image, -1), atol=1)


# Drawing ------------------------------------------------------------------------------------------------------------------


def test_nothing_asked_nothing_changed():
    for fit in FITS:
        for augmentation in drawn_with(AugmentSettings(), bare(ramp(50, 80)), (64, 64), fit, draws=3):
            plain = resized((50, 80), (64, 64), spec_of(fit))
            assert dataclasses.replace(augmentation, fill=(0, 0, 0)) == plain


CHANGES = {
    "flip": {"flip": 0.5},
    "flip_vertical": {"flip_vertical": 0.5},
    "crop_area": {"source": None, "crop_area": (0.3, 0.9)},
    "crop_aspect": {"source": None, "crop_aspect": (0.5, 2.0)},
    "translate": {"source": None, "translate": 0.2},
    "rotate": {"angle": None, "rotate": 20.0},
    "zoom_out": {"source": None, "zoom_out": (1.0, 4.0)},
    "brightness": {"colours": None, "brightness": 0.4},
    "contrast": {"colours": None, "contrast": 0.4},
    "saturation": {"colours": None, "saturation": 0.4},
    "hue": {"colours": None, "hue": 0.1},
}


@pytest.mark.parametrize("option", CHANGES)
def test_every_option_changes_the_image_and_nothing_else_that_is_drawn(option):
    """Beside it, the draws of all other options stay the same: one may be switched on without another experiment."""
    example = bare(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8))
    colours = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}
    every = AugmentSettings(0.5, 0.5, (0.5, 0.9), (0.8, 1.25), 0.1, 10.0, **colours)
    others = dataclasses.replace(every, **{option: getattr(AugmentSettings, option)})
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
    options = AugmentSettings(crop_area=(0.3, 0.8), crop_aspect=(0.5, 2.0), brightness=0.2, hue=0.1, rotate=5.0)
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
    options = AugmentSettings(crop_area=(1.0, 1.0), crop_aspect=(1.0 + 1e-9, 1.0 + 1e-9))
    for augmentation in drawn_with(options, bare(ramp(50, 200)), (64, 64), "crop"):
        x1, y1, x2, y2 = augmentation.source
        assert y2 - y1 == 50 and abs((x2 - x1) - 50) <= 1


def test_windows_within_the_image_leave_nothing_to_fill():
    for augmentation in drawn_with(AugmentSettings(crop_area=(0.5, 1.0)), bare(ramp(30, 40)), (64, 96), "stretch", 100):
        assert augmentation.target == (0, 0, 96, 64)


@pytest.mark.parametrize("name", ["zoom out", "translate", "rotate"])
def test_what_lies_outside_carries_no_class(name):
    example = dataclasses.replace(bare(ramp(50, 70)), semantic=np.ones((50, 70), np.uint8))
    filled = 0
    for augmentation in drawn_with(GEOMETRY[name], example, (64, 64), "stretch"):
        row = apply(augmentation, example, 0)
        outside = (row.image == AugmentSettings().fill).all(-1)
        filled += outside.sum()
        assert (row.semantic[outside] == IGNORE).all() and (row.semantic != 0).all()
        assert (row.semantic == 1).any()
    assert filled > 1000


def test_zoom_out_shows_the_whole_image():
    for augmentation in drawn_with(AugmentSettings(crop_area=(4.0, 4.0)), bare(ramp(50, 70)), (64, 64), "stretch"):
        assert augmentation.source == (0, 0, 70, 50)
        x1, y1, x2, y2 = augmentation.target
        assert abs((x2 - x1) - 32) <= 1 and abs((y2 - y1) - 32) <= 1


def test_draws_belong_to_the_generator():
    spec = spec_of()
    first, again, other = (
        sample(order.example_rng(seed, 3, "a"), GEOMETRY["all"], (50, 60), (64, 96), spec) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("options", [{}, {"flip": 1.0, "crop_area": (0.4, 0.6)}, {"rotate": 60.0}])
def test_cells_go_with_the_labels_and_keep_their_numbers(options):
    cells = np.zeros((90, 120), np.int32)
    cells[10:40, 10:60], cells[50:80, 20:100], cells[10:40, 60:110] = 1, 300, 70_000
    example = Example(
        "drawn", (90, 120), np.zeros((90, 120, 3), np.uint8), semantic=(cells > 0).astype(np.uint8), cells=cells
    )
    spec = InputSpec(sizes=((64, 64),), target="semantic")
    for seed in range(10):
        drawn = sample(np.random.default_rng(seed), AugmentSettings(**options), (90, 120), (64, 64), spec)
        row = apply(drawn, example, 0)
        assert row.cells.dtype == np.int32 and set(np.unique(row.cells)) <= {0, 1, 300, 70_000}
        known = row.semantic != IGNORE
        np.testing.assert_array_equal((row.cells > 0)[known], row.semantic[known] == 1)
        assert len(np.unique(row.cells)) > 2
