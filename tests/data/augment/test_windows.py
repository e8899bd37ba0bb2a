"""data/augment/windows.py, training: a window's image and labels go the same way, which is the way that it reports."""

import dataclasses

import cv2
import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment.windows import cells_of, cut_tile, cut_window, sample_window, tiles
from cnnvision.data.maps.borders import border_weights
from cnnvision.data.options import AugmentSettings
from cnnvision.inputs import BorderWeights, InputSpec
from cnnvision.ops.geometry import invert
from cnnvision.types import IGNORE, Example
from tests.reference import windows as reference


def noise(size):
    """An image, and labels in [0, 9)."""
    rng = np.random.default_rng(size)
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 9, size).astype(np.uint8)


IMAGE, MAPS = noise((90, 120))


def spec_of(size=(64, 96), margin=0, step=1, border=None):
    return InputSpec(sizes=(size,), target="semantic", resize="tile", margin=margin, tile_step=step, border=border)


def example_of(image=IMAGE, maps=MAPS, objects=None):
    return Example("drawn", image.shape[:2], image, semantic=maps, objects=objects)


def windows_of(options, size=(90, 120), out=(64, 96), draws=40):
    return [sample_window(order.example_rng(0, i, "a"), AugmentSettings(**options), size, out) for i in range(draws)]


def blobs(height, width, classes=4, seed=0):
    """Labels of smooth outlines, and an image whose grey is 60 times the label."""
    rough = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    ranks = np.argsort(np.argsort(cv2.GaussianBlur(rough, (0, 0), 9).ravel())).reshape(height, width)
    labels = (ranks * classes // ranks.size).astype(np.uint8)
    return np.repeat(labels[..., None] * 60, 3, axis=-1).astype(np.uint8), labels


# Windows that put pixels onto pixels --------------------------------------------------------------------------------------


def test_a_window_of_nothing_drawn_is_an_exact_crop():
    places = set()
    for window in windows_of({}, draws=200):
        row = cut_window(window, example_of(), 3, spec_of())
        x, y = (int(-offset) for offset in window.transform[:, 2])
        np.testing.assert_array_equal(window.transform, [[1, 0, -x], [0, 1, -y]])
        np.testing.assert_array_equal(row.image, IMAGE[y : y + 64, x : x + 96])
        np.testing.assert_array_equal(row.semantic, MAPS[y : y + 64, x : x + 96])
        assert row.index == 3 and row.core is None and row.transform.dtype == np.float32
        places.add((x, y))
    assert {x for x, _ in places} == set(range(25)) and {y for _, y in places} == set(range(27))


@pytest.mark.parametrize("lost", [4, 20])
def test_what_a_window_answers_for_is_image_and_every_pixel_has_its_turn(lost):
    """Without padding the window reaches beyond the image, so that the image's rim is learnt too."""
    spec, answered = dataclasses.replace(spec_of(), lost=lost), np.zeros((90, 120), int)
    for i in range(200):
        window = sample_window(order.example_rng(0, i, "a"), AugmentSettings(), (90, 120), (64, 96), lost)
        row = cut_window(window, example_of(), 0, spec)
        x, y = (int(-offset) + lost for offset in window.transform[:, 2])
        inner = np.s_[y : y + 64 - 2 * lost, x : x + 96 - 2 * lost]
        np.testing.assert_array_equal(row.semantic[lost:-lost, lost:-lost], MAPS[inner])
        np.testing.assert_array_equal(row.image[lost:-lost, lost:-lost], IMAGE[inner])
        answered[inner] += 1
    assert answered[0].any() and answered[-1].any() and answered[:, 0].any() and answered[:, -1].any()


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"flip": 1.0}, {(0, True)}),
        ({"flip_vertical": 1.0}, {(2, True)}),
        ({"flip": 1.0, "flip_vertical": 1.0}, {(2, False)}),
        ({"quarter_turns": True}, {(turns, False) for turns in range(4)}),
        ({"quarter_turns": True, "flip": 0.5}, {(turns, flip) for turns in range(4) for flip in (False, True)}),
    ],
)
@pytest.mark.parametrize("out", [(64, 64), (50, 64), (37, 64)])
def test_flips_and_quarter_turns_are_exact(options, changes, out):
    seen = set()
    for window in windows_of(options, out=out, draws=60):
        row = cut_window(window, example_of(), 0, spec_of())
        np.testing.assert_array_equal(window.transform, np.rint(window.transform))
        corners = np.rint(invert(window.transform) @ [[0, out[1]], [0, out[0]], [1, 1]]).astype(int)
        (x1, y1), (x2, y2) = corners.min(axis=1), corners.max(axis=1)
        assert 0 <= x1 and x2 <= 120 and 0 <= y1 and y2 <= 90  # nothing is mirrored in
        image, maps = IMAGE[y1:y2, x1:x2], MAPS[y1:y2, x1:x2]
        for turns, flip in [(turns, flip) for turns in range(4) for flip in (False, True)]:
            view = lambda array, turns=turns, flip=flip: np.rot90(np.flip(array, 1) if flip else array, turns)
            if np.array_equal(row.image, view(image)):
                np.testing.assert_array_equal(row.semantic, view(maps))
                seen.add((turns, flip))
                break
        else:
            pytest.fail("no turn or mirroring of the original")
    assert seen == changes


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (60, 94)])
def test_images_smaller_than_the_window_lie_anywhere_within_it(size):
    image, maps = noise(size)
    pad = 200
    whole = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    known = np.pad(maps, pad, constant_values=IGNORE)
    places = []
    for window in windows_of({}, size, (64, 64), draws=500):
        row = cut_window(window, example_of(image, maps), 0, spec_of((64, 64)))
        x, y = (pad - int(offset) for offset in window.transform[:, 2])
        np.testing.assert_array_equal(row.image, whole[y : y + 64, x : x + 64])
        np.testing.assert_array_equal(row.semantic, known[y : y + 64, x : x + 64])
        places.append((y - pad, x - pad))
    for axis, found in enumerate(np.array(places).T):
        room = size[axis] - 64
        assert (found.min(), found.max()) == (min(room, 0), max(room, 0))


def test_a_window_of_a_huge_image_is_cut_out_of_it():
    """OpenCV resamples no image with a side beyond 32,766 pixels."""
    image, maps = noise((40, 40_000))
    starts = []
    for window in windows_of({"flip": 0.5}, (40, 40_000), (32, 32), draws=20):
        row = cut_window(window, example_of(image, maps), 0, spec_of((32, 32)))
        y, x = (round(side) - 16 for side in (invert(window.transform) @ [16, 16, 1])[::-1])
        step = -1 if window.transform[0, 0] < 0 else 1
        np.testing.assert_array_equal(row.image, image[y : y + 32, x : x + 32][:, ::step])
        np.testing.assert_array_equal(row.semantic, maps[y : y + 32, x : x + 32][:, ::step])
        starts.append(x)
    assert max(starts) > 32_766


# Windows between pixels ---------------------------------------------------------------------------------------------------

GEOMETRY = {
    "rotate": {"rotate": 180.0},
    "zoom in": {"zoom": (1.3, 3.0)},
    "zoom out": {"zoom": (0.3, 0.9)},
    "elastic": {"elastic": 3.0},
    "fine elastic": {"elastic": 1.5, "elastic_grid": 6},
    "all": {"flip": 0.5, "quarter_turns": True, "rotate": 20.0, "zoom": (0.7, 1.5), "elastic": 2.0},
}


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("size", [(90, 120), (20, 31), (1, 1)])
def test_windows_are_sampled_as_the_slow_reference_does(name, size):
    image, maps = noise(size)
    for window in windows_of(GEOMETRY[name], size, (24, 37), draws=3):
        row = cut_window(window, example_of(image, maps), 0, spec_of())
        pixels, labels, clear = reference.cut(window, image, maps)
        # Fractions of a pixel may have five bits along each axis: neighbours, up to 255 apart, weigh 1/64 wrong.
        np.testing.assert_allclose(row.image, pixels, atol=0.5 + 2 * 255 / 64)
        np.testing.assert_array_equal(row.semantic[clear], labels[clear])
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(row.transform, window.transform.astype(np.float32))


@pytest.mark.parametrize("name", GEOMETRY)
def test_image_and_labels_move_together(name):
    image, maps = blobs(90, 120)
    compared = 0
    for window in windows_of(GEOMETRY[name], draws=20):
        row = cut_window(window, example_of(image, maps), 0, spec_of())
        least, most = (change(row.semantic, np.ones((9, 9), np.uint8)) for change in (cv2.erode, cv2.dilate))
        alike = np.pad(((least == most) & (most != IGNORE))[4:-4, 4:-4], 4)
        compared += alike.sum()
        np.testing.assert_array_equal(row.image[alike], np.repeat(row.semantic[alike][:, None] * 60, 3, axis=1))
    assert compared > 2000


@pytest.mark.parametrize("name", ["rotate", "zoom out", "all"])
def test_what_lies_outside_carries_no_class(name):
    """The labels are all 1, and tell what was image; a pixel's own centre decides."""
    outside = 0
    for window in windows_of({**GEOMETRY[name], "elastic": 0.0}, out=(100, 140), draws=5):
        row = cut_window(window, example_of(maps=np.ones((90, 120), np.uint8)), 0, spec_of())
        y, x = np.mgrid[:100, :140] + 0.5
        points = np.einsum("ij,jhw->ihw", invert(window.transform), np.stack([x, y, np.ones_like(x)]))
        distance = np.min([points[0], 120 - points[0], points[1], 90 - points[1]], axis=0)
        assert (row.semantic[distance > 1e-3] == 1).all() and (row.semantic[distance < -1e-3] == IGNORE).all()
        outside += (distance < 0).sum()
    assert outside > 500


def test_cells_go_with_the_labels():
    maps = np.zeros((90, 120), np.uint8)
    maps[10:40, 10:60], maps[10:40, 60:110], maps[50:80, 20:100] = 1, 1, 1
    halves = np.where(maps == 1, np.where(np.arange(120) < 60, 1, 2), 0).astype(np.int32)
    spec = spec_of(border=BorderWeights(10.0, 5.0, 0))
    for known, count in ((None, 2), (halves, 2)):
        example = dataclasses.replace(example_of(maps=maps), cells=known)
        whole = cells_of(example, spec)
        assert whole.dtype == np.int32 and set(np.unique(whole)) == set(range(count + 1))
        np.testing.assert_array_equal(whole > 0, maps == 1)
        assert (whole[20, 59] != whole[20, 60]) == (known is halves)
        for window in windows_of(GEOMETRY["all"], draws=5):
            row = cut_window(window, example, 0, spec)
            as_labels = cut_window(window, example_of(maps=whole.astype(np.uint8)), 0, spec).semantic
            np.testing.assert_array_equal(row.cells, np.where(as_labels == IGNORE, 0, as_labels))
        weights = border_weights(whole, 10.0, 5.0)
        spec = dataclasses.replace(spec, margin=20)  # as far as cells matter: the weights are those of the whole image
        for x, y in tiles((90, 120), spec):
            row = cut_tile((x, y), example, 0, spec)
            x1, y1, x2, y2 = row.core
            found = border_weights(row.cells, 10.0, 5.0)[y1:y2, x1:x2]
            np.testing.assert_allclose(found, weights[y + y1 : y + y2, x + x1 : x + x2], atol=10 * 4e-4)


def test_colours_change_the_image_alone():
    plain, coloured = windows_of({}), windows_of({"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1})
    for before, after in zip(plain[:5], coloured[:5], strict=True):
        rows = [cut_window(window, example_of(), 0, spec_of()) for window in (before, after)]
        np.testing.assert_array_equal(rows[0].semantic, rows[1].semantic)
        np.testing.assert_array_equal(rows[1].image, after.colours.apply(rows[0].image))
        assert (rows[0].image != rows[1].image).mean() > 0.5
