"""Forms and their coverage of pixels against point-by-point tests and hand-worked cases."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from cnnvision.data.shapes import forms
from cnnvision.data.shapes.random import Draws

UNIT, FULL, SCALE, TURN = forms.UNIT, forms.FULL, forms.SCALE, forms.TURN


def corners(*points):
    return np.array(points, np.int64)


def slow_coverage(polygons, height, width):
    """How much each pixel lies within: each scanline is tried at the middle of every unit, by the even-odd rule."""
    cover = np.zeros((height, width), np.int64)
    for line in range(height * forms.SCANLINES):
        y = Fraction(UNIT * (2 * line + 1), 2 * forms.SCANLINES)
        crossings = []
        for polygon in polygons:
            for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
                if (y1 <= y) != (y2 <= y):
                    crossings.append(x1 + (y - y1) * Fraction(x2 - x1, y2 - y1))
        for unit in range(width * UNIT):
            if sum(crossing < unit + Fraction(1, 2) for crossing in crossings) % 2:
                cover[line // forms.SCANLINES, unit // UNIT] += 1
    return cover


@pytest.mark.parametrize("label", range(len(forms.CLASSES)))
def test_coverage_agrees_with_trying_each_point(label):
    draws = Draws((1, 2), (3, label, 5))
    points, lengths = forms.form(label, draws)
    points = forms.placed(points, 225, draws.integer(0, TURN - 1), 12 * UNIT, (30, 50))
    cover, top, left = forms.coverage(points, lengths)
    assert (top, left) == (0, 0)
    bounds = np.cumsum((0, *lengths))
    polygons = [[(int(x), int(y)) for x, y in points[a:b]] for a, b in itertools.pairwise(bounds)]
    # Each crossing is rounded down to a whole unit; no scanline has more than two of them in one pixel here.
    assert np.abs(cover - slow_coverage(polygons, *cover.shape)).max() <= 2 * forms.SCANLINES


def test_coverage_of_an_aligned_rectangle_is_exact():
    points = corners((UNIT // 2, 0), (3 * UNIT, 0), (3 * UNIT, 2 * UNIT + UNIT // 2), (UNIT // 2, 2 * UNIT + UNIT // 2))
    for polygon in (points, points[::-1]):
        cover, _, _ = forms.coverage(polygon, (4,))
        row = [FULL // 2, FULL, FULL]
        np.testing.assert_array_equal(cover[:, :3], [row, row, [value // 2 for value in row]])
        assert cover[:, 3:].sum() == 0


def test_coverage_follows_shifts_by_whole_pixels():
    points, lengths = forms.form(forms.CLASSES.index("star"), Draws((1, 2), (3, 4, 5)))
    points = forms.placed(points, 256, 77, 20 * UNIT, (0, 0))
    cover, top, left = forms.coverage(points, lengths)
    moved, low, right = forms.coverage(points + np.array((-9, 4)) * UNIT, lengths)
    np.testing.assert_array_equal(moved, cover)
    assert (low - top, right - left) == (4, -9)


def test_two_polygons_of_one_direction_add_and_a_hole_takes_away():
    outer = corners((0, 0), (4 * UNIT, 0), (4 * UNIT, 4 * UNIT), (0, 4 * UNIT))
    hole = outer // 2 + UNIT
    cover, _, _ = forms.coverage(np.concatenate((outer, hole[::-1])), (4, 4))
    expected = np.full((4, 4), FULL)
    expected[1:3, 1:3] = 0
    np.testing.assert_array_equal(cover[:4, :4], expected)


@pytest.mark.parametrize("name", forms.CLASSES)
@pytest.mark.parametrize("side", [12, 33, 80])
def test_placed_forms_have_the_side_asked_for(name, side):
    points, lengths = forms.form(forms.CLASSES.index(name), Draws((0, 1), (2, 3, 4)))
    points = forms.placed(points, 230, 123, side * UNIT, (7, 9))
    low, high = points.min(axis=0), points.max(axis=0)
    assert low.tolist() == [7, 9] and (high - low).max() == side * UNIT
    mask = 2 * forms.coverage(points, lengths)[0] >= FULL
    extent = max(np.flatnonzero(mask.any(axis=axis))[[0, -1]] @ (-1, 1) + 1 for axis in (0, 1))
    assert side - 4 <= extent <= side + 1  # the tip of a spike covers less than half of its pixel


def test_forms_have_the_area_that_geometry_says():
    """Circle π/4 of its square; regular triangle √3/4 and square 1 of a side squared; at 80 pixels, unturned."""
    for name, expected in (("circle", math.pi / 4 * 6400), ("triangle", math.sqrt(3) / 4 * 6400), ("square", 3200.0)):
        points, lengths = forms.form(forms.CLASSES.index(name), Draws((0, 1), (2, 3, 4)))
        cover, _, _ = forms.coverage(forms.placed(points, 256, 0, 80 * UNIT, (0, 0)), lengths)
        assert cover.sum() / FULL == pytest.approx(expected, rel=5e-3)


def test_the_smallest_rings_have_a_hole():
    for index in range(60):
        draws = Draws((0, 1), (2, 3, index))
        points, lengths = forms.form(forms.CLASSES.index("ring"), draws)
        points = forms.placed(points, 208, draws.integer(0, TURN - 1), 12 * UNIT, (index, index))
        ring, disc = forms.coverage(points, lengths)[0], forms.coverage(points[:64], (64,))[0]
        hole = (2 * disc >= FULL) & (2 * ring < FULL)
        assert hole.sum() >= 9
        assert not hole[0].any() and not hole[:, 0].any() and not hole[-1].any() and not hole[:, -1].any()


def test_no_table_hangs_on_the_last_bit_of_a_float():
    """Values that were rounded to integers lie far from a half, so no other libm rounds them elsewhere."""

    def distance(value):
        return abs(value % 1 - 0.5)

    assert all(distance(SCALE * f(2 * math.pi * k / TURN)) > 1e-6 for f in (math.cos, math.sin) for k in range(TURN))
    for least, most in ((12, 80), (24, 96)):
        assert all(distance(UNIT * least * (most / least) ** (k / 511)) > 1e-6 for k in range(512))


def test_sides_are_even_in_the_logarithm():
    sides = np.array(forms.log_uniform_sides(12, 80))
    assert (sides[0], sides[-1]) == (12 * UNIT, 80 * UNIT)
    ratios = sides[1:] / sides[:-1]
    assert ratios.min() > 1 and ratios.max() - ratios.min() < 3e-3
