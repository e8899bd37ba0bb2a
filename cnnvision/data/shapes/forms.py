"""The six forms of `shapes` as polygons, and their exact coverage of pixels; integers throughout.

Units
    unit    1/64 pixel: all coordinates of polygons. Pixel i covers units [64 i, 64 i + 64), x to the right, y downwards.
    cover   how much of a pixel lies within a polygon, 0 … 256 = `FULL`: four scanlines a pixel, and on each the exact
            covered length in units.
"""

import functools
import math

import numpy as np

from cnnvision.data.shapes.random import Draws

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")

UNIT = 64
SCANLINES = 4
FULL = UNIT * SCANLINES

TURN = 960
"""Directions in a full turn; a multiple of 3, 10 and 64, so that each corner of each form has a direction of its own."""

SCALE = 4096
"""What stands for 1 in directions and in forms: 1/4096 of a form's radius."""

# The one use of transcendental functions: an error of a unit in the last place of sin, cos or pow cannot change these
# integers, since none of the values lies near half an integer (tests/data/shapes/test_forms.py holds them to that).
DIRECTIONS = np.array(
    [
        (round(SCALE * math.cos(2 * math.pi * k / TURN)), round(SCALE * math.sin(2 * math.pi * k / TURN)))
        for k in range(TURN)
    ],
    np.int64,
)
"""int64 [TURN, 2]: cosine and sine of each direction, in 1/SCALE."""


def log_uniform_sides(least: int, most: int, steps: int = 512) -> list[int]:
    """`steps` lengths between two numbers of pixels, both ends included, evenly spaced in the logarithm; units."""
    return [round(UNIT * least * (most / least) ** (k / (steps - 1))) for k in range(steps)]


@functools.cache
def _corners(count: int, phase: int = 0) -> np.ndarray:
    """int64 [count, 2]: corners of a regular polygon of radius SCALE, the first in direction `phase`."""
    return DIRECTIONS[(phase + np.arange(count) * (TURN // count)) % TURN]


@functools.cache
def _following(lengths: tuple[int, ...]) -> np.ndarray:
    """int64 [n]: index of the corner after each, for closed polygons of these lengths that lie one behind the other."""
    starts = np.cumsum((0, *lengths))
    return np.concatenate([start + (np.arange(length) + 1) % length for start, length in zip(starts, lengths, strict=False)])


def form(label: int, draws: Draws) -> tuple[np.ndarray, tuple[int, ...]]:
    """A form of radius SCALE around the origin, with its own free proportions drawn.

    Args:
        label: index into CLASSES.
        draws: a star's inner radius, a cross's arms and a ring's hole come from here.

    Returns:
        (corners, lengths): int64 [n, 2] (x, y), 1/SCALE, and how many of them belong to each closed polygon; a ring is two
        polygons, of which the second, its hole, runs the other way round.
    """
    name = CLASSES[label]
    if name == "star":
        points, bays = _corners(5), _corners(5, TURN // 10) * draws.integer(1480, 1840) // SCALE
        return np.stack((points, bays), axis=1).reshape(10, 2), (10,)
    if name == "cross":
        arm = draws.integer(820, 1340)
        quarters = [np.array(((SCALE, -arm), (SCALE, arm), (arm, arm)))]
        for _ in range(3):
            quarters.append(quarters[-1][:, ::-1] * (-1, 1))
        return np.concatenate(quarters), (12,)
    if name == "ring":
        return np.concatenate((_corners(64), _corners(64)[::-1] * draws.integer(1900, 2660) // SCALE)), (64, 64)
    count = {"circle": 64, "square": 4, "triangle": 3}[name]
    return _corners(count), (count,)


def placed(corners: np.ndarray, stretch: int, direction: int, side: int, corner: tuple[int, int]) -> np.ndarray:
    """A form narrowed, turned and brought to its size.

    Args:
        corners: int64 [n, 2], 1/SCALE.
        stretch: how narrow it becomes along its own x axis, before it is turned; 256 leaves it as it is.
        direction: by what part of a turn it is turned, of TURN.
        side: longer side of its bounding box in the end, units.
        corner: (x, y) of its bounding box's upper left corner in the end, units.

    Returns:
        int64 [n, 2], units.
    """
    cosine, sine = DIRECTIONS[direction].tolist()
    turned = corners * (stretch, 256) @ np.array(((cosine, sine), (-sine, cosine))) // (256 * SCALE)
    low = turned.min(axis=0)
    return (turned - low) * side // int((turned.max(axis=0) - low).max()) + corner


def coverage(corners: np.ndarray, lengths: tuple[int, ...]) -> tuple[np.ndarray, int, int]:
    """How much of each pixel lies within polygons.

    Args:
        corners: int64 [n, 2] (x, y), units.
        lengths: how many of them belong to each closed polygon; holes run the other way round.

    Returns:
        (cover, top, left): int32 [h, w], 0 … FULL, and the pixel row and column of its first element.
    """
    x1, y1 = corners.T
    x2, y2 = corners[_following(lengths)].T
    left, top = int(x1.min()) // UNIT, int(y1.min()) // UNIT
    width, height = int(x1.max()) // UNIT + 1 - left, int(y1.max()) // UNIT + 1 - top

    # Each edge crosses the scanlines from its upper end (with it) to its lower end (without it). Scanline k is y = step · k.
    step = UNIT // SCANLINES
    y1, y2 = y1 - (top * UNIT + step // 2), y2 - (top * UNIT + step // 2)
    begin, stop = -(-y1 // step), -(-y2 // step)
    count = np.abs(stop - begin)
    edge = np.repeat(np.arange(len(count)), count)
    line = np.arange(len(edge)) + (np.minimum(begin, stop) - np.cumsum(count) + count)[edge]
    x = (step * line - y1[edge]) * (x2 - x1)[edge] // (y2 - y1)[edge] + (x1 - left * UNIT)[edge]

    # A crossing opens or closes a span; the running sum along a row is then the covered length. bincount sums in float64,
    # exactly, since these are integers.
    column = x // UNIT
    sign = np.sign(stop - begin)[edge]
    later = sign * (x - column * UNIT)
    cell = line // SCANLINES * (width + 1) + column
    change = np.bincount(cell, sign * UNIT - later, height * (width + 1))
    change[1:] += np.bincount(cell, later, height * (width + 1))[:-1]
    cover = np.cumsum(change.reshape(height, width + 1), axis=1)[:, :width]
    return np.abs(cover).astype(np.int32), top, left
