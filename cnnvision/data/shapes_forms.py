"""The six forms of `shapes` as polygons, and their exact coverage of pixels; integers throughout.

Units
    unit    1/64 pixel: all coordinates of polygons. Pixel i covers units [64 i, 64 i + 64), x to the right, y downwards.
    cover   how much of a pixel lies within a polygon, 0 … 512 = `FULL`: eight scanlines a pixel, and on each the exact
            covered length in units.
"""

import math

import numpy as np

from cnnvision.data.shapes_random import Draws

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")

UNIT = 64
SCANLINES = 8
FULL = UNIT * SCANLINES

TURN = 960
"""Directions in a full turn; a multiple of 3, 10 and 64, so that each corner of each form has a direction of its own."""

SCALE = 4096
"""What stands for 1 in directions and in forms: 1/4096 of a form's radius."""

# The one use of transcendental functions: an error of a unit in the last place of sin, cos or pow cannot change these
# integers, since none of the values lies near half an integer (tests/data/test_shapes_forms.py holds them to that).
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


def _corners(count: int, radius: int, phase: int = 0) -> np.ndarray:
    """int64 [count, 2]: corners of a regular polygon of `radius` in 1/SCALE, the first in direction `phase`."""
    return DIRECTIONS[(phase + np.arange(count) * (TURN // count)) % TURN] * radius // SCALE


def form_contours(label: int, draws: Draws) -> list[np.ndarray]:
    """The contours of a form of radius SCALE around the origin, with its own free proportions drawn.

    Args:
        label: index into CLASSES.
        draws: a star's inner radius, a cross's arms and a ring's hole come from here.

    Returns:
        Closed polygons, int64 [n, 2] (x, y); holes run the other way round.
    """
    name = CLASSES[label]
    if name == "circle":
        return [_corners(64, SCALE)]
    if name == "square":
        return [_corners(4, SCALE)]
    if name == "triangle":
        return [_corners(3, SCALE)]
    if name == "star":
        inner = draws.integer(1480, 1840)
        return [np.stack([_corners(5, SCALE), _corners(5, inner, TURN // 10)], axis=1).reshape(10, 2)]
    if name == "cross":
        arm, long = draws.integer(820, 1340), SCALE
        quarter = np.array([(long, -arm), (long, arm), (arm, arm)], np.int64)
        turns = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
        return [np.concatenate([quarter @ np.array(((a, c), (b, d)), np.int64) for a, b, c, d in turns])]
    hole = draws.integer(1900, 2660)
    return [_corners(64, SCALE), _corners(64, hole)[::-1]]


def stretched_and_turned(contours: list[np.ndarray], stretch: int, direction: int) -> list[np.ndarray]:
    """Contours narrowed along x to stretch / 256, then turned by `direction` / TURN of a full turn; in 1/SCALE."""
    cosine, sine = (int(value) for value in DIRECTIONS[direction])
    turned = []
    for contour in contours:
        x, y = contour[:, 0] * stretch // 256, contour[:, 1]
        turned.append(np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1) // SCALE)
    return turned


def scaled_to(contours: list[np.ndarray], side: int) -> list[np.ndarray]:
    """Contours scaled so that the longer side of their common bounding box is `side`, with its corner at the origin."""
    points = np.concatenate(contours)
    low, extent = points.min(axis=0), int((points.max(axis=0) - points.min(axis=0)).max())
    return [(contour - low) * side // extent for contour in contours]


def coverage(contours: list[np.ndarray]) -> tuple[np.ndarray, int, int]:
    """How much of each pixel lies within the contours.

    Args:
        contours: closed polygons, int64 [n, 2] (x, y), units; holes run the other way round.

    Returns:
        (cover, top, left): int32 [h, w] 0 … FULL, and the pixel row and column of its first element.
    """
    start = np.concatenate(contours)
    end = np.concatenate([np.roll(contour, -1, axis=0) for contour in contours])
    left, top = (int(value) for value in start.min(axis=0) // UNIT)
    width, height = (int(value) + 1 for value in start.max(axis=0) // UNIT - (left, top))

    step = UNIT // SCANLINES
    y = top * UNIT + step // 2 + step * np.arange(height * SCANLINES)
    upper, lower = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    line, edge = np.nonzero((y[:, None] >= upper) & (y[:, None] < lower))
    run, rise = (end - start)[edge].T
    x = start[edge, 0] + (y[line] - start[edge, 1]) * run // rise - left * UNIT

    # Each crossing opens or closes a span; the running sum along the row is the covered length. Sums of small integers in
    # float64 (bincount's weights) are exact.
    sign, column, part = np.where(rise > 0, 1, -1), x // UNIT, x % UNIT
    cell = (line // SCANLINES) * (width + 1) + column
    size = height * (width + 1)
    change = np.bincount(cell, sign * (UNIT - part), size) + np.bincount(cell + 1, sign * part, size)
    cover = np.cumsum(change.reshape(height, width + 1), axis=1)[:, :width]
    return np.abs(cover).astype(np.int32), top, left
