"""Textures, backgrounds and clutter of `shapes`; integers throughout.

One family of textures serves backgrounds, clutter and objects alike, so that neither a colour nor a pattern nor a strong edge
tells that there is an object: only its form does.
"""

import numpy as np

from cnnvision.data.shapes_forms import DIRECTIONS, FULL, SCALE, TURN, UNIT, coverage
from cnnvision.data.shapes_random import Draws

PATTERNS = ("plain", "plain", "stripes", "checks", "spots", "clouds", "clouds", "grain")


def clouds(draws: Draws, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise: random values on a lattice of `cell` pixels, bilinear between; float64 [height, width] of integers 0 … 255.

    float64 for the speed of its matrix products: all terms are integers and stay below 2^53, so every sum is exact.
    """

    def weights(length: int, knots: int, phase: int) -> np.ndarray:
        position = np.arange(length) * 16 + phase
        left, part = position // (16 * cell), position % (16 * cell)
        matrix = np.zeros((length, knots))
        matrix[np.arange(length), left] = 16 * cell - part
        matrix[np.arange(length), left + 1] = part
        return matrix

    rows, columns = height // cell + 3, width // cell + 3
    phases = draws.integer(0, 16 * cell - 1), draws.integer(0, 16 * cell - 1)
    values = draws.bytes(rows, columns).astype(np.float64)
    return weights(height, rows, phases[0]) @ values @ weights(width, columns, phases[1]).T // (256 * cell * cell)


def _along(draws: Draws, height: int, width: int) -> np.ndarray:
    """Distance of each pixel from the corner along a random direction; int64 [height, width], 1/16 pixel, any sign."""
    cosine, sine = (int(value) for value in DIRECTIONS[draws.integer(0, TURN - 1)])
    return (np.arange(width) * cosine + np.arange(height)[:, None] * sine) * 16 // SCALE


def _wave(distance: np.ndarray, period: int) -> np.ndarray:
    """A triangle wave 0 … 255 … 0 over `period` (the unit of distance)."""
    return 255 - np.abs(distance % period * 510 // period - 255)


def _pattern(draws: Draws, height: int, width: int) -> np.ndarray:
    """Where a texture shows its second colour; int64 [height, width], 0 … 255."""
    name = draws.choice(PATTERNS)
    if name == "plain":
        return np.zeros((height, width), np.int64)
    if name == "clouds":
        return clouds(draws, height, width, draws.integer(5, 14)).astype(np.int64)
    if name == "grain":
        return draws.bytes((height + 1) // 2, (width + 1) // 2).repeat(2, 0).repeat(2, 1)[:height, :width].astype(np.int64)
    period, sharp = draws.integer(64, 200), draws.integer(1, 6)
    direction, phase = draws.integer(0, TURN - 1), draws.integer(0, 4095)
    cosine, sine = (int(value) for value in DIRECTIONS[direction])
    x, y = np.arange(width), np.arange(height)[:, None]
    along = (x * cosine + y * sine) * 16 // SCALE + phase
    if name == "stripes":
        wave = _wave(along, period)
    else:
        across = (y * cosine - x * sine) * 16 // SCALE + phase
        one, other = _wave(along, period), _wave(across, period)
        wave = (one * other + (255 - one) * (255 - other)) // 255 if name == "checks" else one * other // 255
    return np.clip((wave - 128) * sharp + 128, 0, 255)


def texture(draws: Draws, height: int, width: int, base: tuple[int, int, int]) -> np.ndarray:
    """A patterned, graded surface about one colour.

    Args:
        draws: pattern, contrast and light come from here.
        height, width: pixels.
        base: RGB 0 … 255.

    Returns:
        int32 [height, width, 3], 0 … 255.
    """
    second = [min(255, max(0, value + draws.integer(-70, 70))) for value in base]
    mix = _pattern(draws, height, width)[..., None]
    light = _along(draws, height, width)
    light = light - (int(light[0, 0]) + int(light[-1, -1])) // 2
    slope = draws.integer(0, 60)
    light = 256 + light * slope // (8 * (height + width))
    colour = (np.array(base) * (255 - mix) + np.array(second) * mix) // 255
    return np.clip(colour * light[..., None] // 256, 0, 255).astype(np.int32)


def colour(draws: Draws) -> tuple[int, int, int]:
    """A colour, RGB, each channel uniform."""
    return tuple(draws.integer(16, 240) for _ in range(3))


def paint(canvas: np.ndarray, surface: np.ndarray, cover: np.ndarray, top: int, left: int) -> None:
    """Blends a surface onto the canvas in place, where it covers; what lies outside the canvas is cut off.

    Args:
        canvas: int32 [H, W, 3].
        surface: int32 [h, w, 3]; cover: int32 [h, w], 0 … FULL; their first pixel lies at row `top`, column `left`.
    """
    window, place = overlap(cover.shape, top, left, canvas.shape[:2])
    part = canvas[place]
    part += ((surface[window] - part) * cover[window][..., None] + FULL // 2) // FULL


def overlap(
    shape: tuple[int, int], top: int, left: int, canvas: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a window at (top, left) and a canvas meet: (rows, columns) in the window, and the same pixels in the canvas.

    Args:
        shape: (height, width) of the window. canvas: (height, width) of the canvas. Both (0, 0) windows where they do not meet.
    """
    own, its = [], []
    for length, start, limit in ((shape[0], top, canvas[0]), (shape[1], left, canvas[1])):
        first, last = max(0, -start), min(length, limit - start)
        if first >= last:
            return (slice(0, 0),) * 2, (slice(0, 0),) * 2
        own.append(slice(first, last))
        its.append(slice(start + first, start + last))
    return tuple(own), tuple(its)


def _regions(draws: Draws, canvas: np.ndarray) -> None:
    """Covers a part of the canvas with another texture, up to a wavy border as sharp as an object's."""
    height, width = canvas.shape[:2]
    field = clouds(draws, height, width, draws.integer(24, 56)).astype(np.int64) * 12 + _along(
        draws, height, width
    ) * draws.integer(0, 3)
    level = int(field[draws.integer(0, height - 1), draws.integer(0, width - 1)])
    cover = np.clip((field - level) * 8 + FULL // 2, 0, FULL).astype(np.int32)
    paint(canvas, texture(draws, height, width, colour(draws)), cover, 0, 0)


def _strip(draws: Draws, side: int) -> list[np.ndarray]:
    """A thin line or arc somewhere on a canvas of `side` pixels: one polygon, units."""
    x, y = draws.integer(0, side * UNIT), draws.integer(0, side * UNIT)
    first, count = draws.integer(0, TURN - 1), draws.integer(24, 60)
    thick = draws.integer(UNIT, 4 * UNIT)
    if draws.chance(50):
        (c, s), length = DIRECTIONS[first], draws.integer(12 * UNIT, 100 * UNIT)
        along, across = np.array((c, s)) * length // SCALE, np.array((-s, c)) * thick // SCALE
        return [np.array([(0, 0), along, along + across, across]) + (x, y)]
    radius = draws.integer(10 * UNIT, 60 * UNIT)
    arc = DIRECTIONS[(first + np.arange(count) * 8) % TURN]
    return [np.concatenate([arc * radius // SCALE, (arc * (radius - thick) // SCALE)[::-1]]) + (x, y)]


def _blob(draws: Draws, side: int) -> list[np.ndarray]:
    """An irregular lump with bays: one polygon, units."""
    lobes, radius = draws.integer(5, 8), draws.integer(4 * UNIT, 22 * UNIT)
    knots = draws.bytes(lobes).astype(np.int64) * 3 // 4 + 64
    turn = np.arange(60) * lobes
    knot, part = turn // 60, turn % 60
    part = part * part * (180 - 2 * part) // 3600  # smooth from knot to knot
    reach = knots[knot] * (60 - part) + knots[(knot + 1) % lobes] * part
    corners = (
        DIRECTIONS[(draws.integer(0, TURN - 1) + np.arange(60) * 16) % TURN] * reach[:, None] * radius // (SCALE * 60 * 255)
    )
    return [corners + (draws.integer(0, side * UNIT), draws.integer(0, side * UNIT))]


def background(draws: Draws, side: int) -> np.ndarray:
    """A patchwork of textures with lines, arcs and lumps on it; int32 [side, side, 3], 0 … 255."""
    canvas = texture(draws, side, side, colour(draws))
    for _ in range(draws.integer(0, 3)):
        _regions(draws, canvas)
    for _ in range(draws.integer(3, 12)):
        contours = _blob(draws, side) if draws.chance(40) else _strip(draws, side)
        cover, top, left = coverage(contours)
        paint(canvas, texture(draws, *cover.shape, colour(draws)), cover, top, left)
    return canvas


def with_noise(draws: Draws, canvas: np.ndarray) -> np.ndarray:
    """The canvas as a noisy camera sees it: uint8 [H, W, 3]. The noise is the sum of four even bytes, nearly normal."""
    strength = draws.integer(4, 40)
    noise = draws.bytes(4, *canvas.shape).sum(axis=0, dtype=np.int32) - 510
    return np.clip(canvas + noise * strength // 512, 0, 255).astype(np.uint8)
