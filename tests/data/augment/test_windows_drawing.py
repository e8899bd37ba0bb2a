"""data/augment/windows.py: what is drawn for a training window, and how it is bent."""

import dataclasses
import math

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment.photometric import UNCHANGED
from cnnvision.data.augment.windows import _cubic, _spread, sample_window
from cnnvision.data.options import AugmentSettings
from cnnvision.ops.geometry import invert
from tests.reference import windows as reference


def windows_of(options, size=(90, 120), out=(64, 96), draws=40):
    return [sample_window(order.example_rng(0, i, "a"), AugmentSettings(**options), size, out) for i in range(draws)]


# The bend -----------------------------------------------------------------------------------------------------------------


def test_the_bend_is_the_drawn_one_at_the_points_of_the_grid():
    """With five points and 6 · 10 pixels, the second and the fourth line of the grid pass through centres of pixels."""
    grid = np.random.default_rng(0).normal(size=(5, 5))
    bent = _spread(grid, (6, 10))
    np.testing.assert_allclose(bent[np.ix_([1, 4], [2, 7])], grid[np.ix_([1, 3], [1, 3])], atol=1e-12)
    np.testing.assert_allclose(_spread(np.full((3, 3), 1.7), (7, 9)), 1.7)


@pytest.mark.parametrize(("knots", "count"), [(2, 1), (2, 50), (3, 64), (6, 7), (24, 10)])
def test_cubic_weights(knots, count):
    weights = _cubic(knots, count)
    place = (np.arange(count) + 0.5) / count * (knots - 1)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    inner = (place >= 1) & (place <= knots - 2)
    for power in (1, 2):  # Keys' kernel reproduces second degree
        np.testing.assert_allclose((weights @ np.arange(knots) ** power)[inner], place[inner] ** power, atol=1e-9)
    one_hot = np.eye(knots)[None].repeat(knots, axis=0)  # a grid of as many values a point, of which each is 1 on a column
    expected = [reference.displacement(one_hot, x + 0.5, 0.5, (1, count)) for x in range(count)]
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_displacements_have_the_asked_deviation_and_are_smooth():
    bends = np.stack([window.bend for window in windows_of({"elastic": 10.0}, draws=300)])
    assert bends.shape == (300, 3, 3, 2) and abs(bends.mean()) < 0.5 and abs(bends.std() - 10) < 0.3
    for axis in (0, 1):
        assert abs(np.mean(bends[:, 1, 1, axis] * bends[:, 1, 2, axis])) < 20  # independent, of a variance of 100
    assert abs(np.mean(bends[..., 0] * bends[..., 1])) < 10
    bent = _spread(bends[0, ..., 0], (388, 388))
    assert max(np.abs(np.diff(bent, axis=axis)).max() for axis in (0, 1)) < 0.5


# What is drawn ------------------------------------------------------------------------------------------------------------

ALL = {"flip": 0.5, "flip_vertical": 0.5, "rotate": 30.0, "zoom": (0.8, 1.4), "quarter_turns": True, "elastic": 3.0}
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def parts(window):
    """zoom, turn without the mirrorings' share, handedness, middle in original pixels, bend, colours."""
    linear = window.transform[:, :2]
    zoom = math.sqrt(abs(np.linalg.det(linear)))
    middle = invert(window.transform) @ [window.size[1] / 2, window.size[0] / 2, 1]
    return {
        "zoom": zoom,
        "linear": linear / zoom,
        "middle": middle,
        "bend": np.zeros(0) if window.bend is None else window.bend,
        "colours": np.array(dataclasses.astuple(window.colours)),
    }


@pytest.mark.parametrize("option", [*ALL, *COLOURS])
def test_an_option_changes_its_own_part_alone(option):
    """So that one may be switched on without another experiment; the middle depends on the room that zoom and turns need."""
    owns = {"zoom": {"zoom", "middle"}, "quarter_turns": {"linear", "middle"}, "elastic": {"bend"}}
    owns = (owns | {key: {"colours"} for key in COLOURS}).get(option, {"linear"})
    everything = {**ALL, **COLOURS}
    changed = 0
    pairs = (windows_of({k: v for k, v in everything.items() if k != option}), windows_of(everything))
    for without, drawn in zip(*pairs, strict=True):
        a, b = parts(without), parts(drawn)
        for name in set(a) - owns:
            np.testing.assert_allclose(a[name], b[name], atol=1e-9, err_msg=name)
        changed += any(a[name].shape != b[name].shape or (a[name] != b[name]).any() for name in owns if name != "zoom")
    assert changed > 10


def test_draws_stay_within_their_ranges_and_fill_them():
    zooms = np.log([parts(window)["zoom"] for window in windows_of({"zoom": (0.5, 2.0)}, draws=400)])
    assert (
        -math.log(2) - 1e-9 <= zooms.min() < -0.65 and 0.65 < zooms.max() <= math.log(2) + 1e-9 and abs(zooms.mean()) < 0.1
    )
    turned = [window.transform for window in windows_of({"rotate": 25.0}, draws=400)]
    angles = np.degrees([math.atan2(linear[1, 0], linear[0, 0]) for linear in turned])
    assert -25 <= angles.min() < -23 and 23 < angles.max() <= 25 and abs(angles.mean()) < 2
    turns = [tuple(window.transform[:, :2].ravel().astype(int)) for window in windows_of({"quarter_turns": True}, draws=400)]
    counts = [turns.count(turn) for turn in ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))]
    assert sum(counts) == 400 and min(counts) > 70
    assert all(window.bend is None and window.colours == UNCHANGED for window in windows_of({}))


@pytest.mark.parametrize("zoom", [1.0, 1.1, 1.5, 2.7])
def test_an_upright_window_lies_within_the_image_where_there_is_room(zoom):
    for window in windows_of({"zoom": (zoom, zoom), "flip": 0.5}, out=(64, 96), draws=200):
        x, y = invert(window.transform)[:, :2] @ [48, 32] + invert(window.transform)[:, 2]
        assert 48 / zoom - 1e-6 <= x <= 120 - 48 / zoom + 1e-6 and 32 / zoom - 1e-6 <= y <= 90 - 32 / zoom + 1e-6


def test_no_draw_serves_two_options():
    """Each option alone, for the same examples: what is drawn for one says nothing about what is drawn for another."""
    of = lambda value, **options: [value(window) for window in windows_of(options, draws=500)]
    colour = lambda name: of(lambda window: getattr(window.colours, name), **COLOURS)
    columns = {
        "flip": of(lambda window: window.transform[0, 0], flip=0.5),
        "flip_vertical": of(lambda window: window.transform[1, 1], flip_vertical=0.5),
        "zoom": of(lambda window: window.transform[0, 0], zoom=(0.5, 2.0)),
        "rotate": of(lambda window: window.transform[1, 0], rotate=30.0),
        "quarter_turns": of(lambda window: math.atan2(*window.transform[::-1, 0]) % (2 * math.pi), quarter_turns=True),
        "x": of(lambda window: window.transform[0, 2]),
        "y": of(lambda window: window.transform[1, 2]),
        "elastic": of(lambda window: window.bend[0, 0, 0], elastic=1.0),
        **{name: colour(name) for name in COLOURS},
    }
    correlation = np.corrcoef(list(columns.values())) - np.eye(len(columns))
    assert np.abs(correlation).max() < 0.2, correlation.round(2)


def test_draws_belong_to_the_generator():
    options = AugmentSettings(**ALL, **COLOURS)
    first, again, other = (
        parts(sample_window(order.example_rng(seed, 3, "a"), options, (90, 120), (64, 96))) for seed in (1, 1, 2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert np.abs(first[name] - other[name]).max() > 1e-3
