"""Textures, backgrounds and clutter of `shapes`; integers throughout.

One family of textures serves backgrounds, clutter and objects, so that neither a colour nor a pattern nor a strong
edge tells that there is an object: only its form does.

Canvases and surfaces are int32 [3, h, w], 0 … 255, channels first, which NumPy works through several times faster.
"""

import functools

import numpy as np

from cnnvision.data.shapes.forms import DIRECTIONS, FULL, SCALE, TURN, UNIT, coverage
from cnnvision.data.shapes.random import Draws

PATTERNS = ("plain", "stripes", "checks", "dots", "clouds", "clouds", "grain")
LONGEST = 128
"""Greatest height and width of a texture, pixels."""
STANDS_OFF = 100
"""Colours that differ by less than this, summed over red, green and blue, are close."""


@functools.lru_cache(maxsize=1024)
def _easing(cell: int, phase: int) -> np.ndarray:
    """Weights of lattice values, spaced `cell` pixels, at each of LONGEST pixels: float64 [LONGEST, knots], 64ths."""
    position = np.arange(LONGEST) + phase
    knot = position // cell
    part = (position - knot * cell) * 64 // cell
    part = part * part * (192 - 2 * part) >> 12  # 3t² − 2t³
    matrix = np.zeros((LONGEST, knot[-1] + 2))
    matrix[np.arange(LONGEST), knot] = 64 - part
    matrix[np.arange(LONGEST), knot + 1] = part
    return matrix


def clouds(draws: Draws, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise: random values on a lattice of `cell` pixels, eased between them; int32 [height, width], 0 … 255.

    Height and width up to LONGEST.
    """
    rows, columns = height // cell + 3, width // cell + 3
    down = _easing(cell, draws.integer(0, cell - 1))[:height, :rows]
    across = _easing(cell, draws.integer(0, cell - 1))[:width, :columns]
    values = draws.bytes(down.shape[1], across.shape[1])
    # float64 for its fast matrix product: every term is an integer and no sum reaches 2^53, so all of it is exact.
    return (down @ values.astype(np.float64) @ across.T).astype(np.int32) >> 12


def _along(direction: int, height: int, width: int) -> np.ndarray:
    """Distance of each pixel from the corner along a direction (of TURN): int32 [height, width], 1/16 pixel, any sign."""
    cosine, sine = DIRECTIONS[direction % TURN].tolist()
    across, down = np.arange(width, dtype=np.int32) * cosine, np.arange(height, dtype=np.int32) * sine
    return np.add.outer(down, across) // (SCALE // 16)


def _wave(distance: np.ndarray, period: int) -> np.ndarray:
    """A triangle wave 0 … 255 … 0 over `period`, in the unit of distance."""
    return 255 - np.abs((distance - distance // period * period) * (510 * 64 // period) // 64 - 255)


def _pattern(draws: Draws, height: int, width: int) -> np.ndarray:
    """Where a texture shows its second colour: int32 [height, width], 0 … 255."""
    name = draws.choice(PATTERNS)
    if name == "plain":
        return np.zeros((height, width), np.int32)
    if name == "clouds":
        return clouds(draws, height, width, draws.integer(4, 14))
    if name == "grain":
        grain = draws.bytes((height + 1) // 2, (width + 1) // 2).astype(np.int32)
        return grain.repeat(2, 0).repeat(2, 1)[:height, :width]
    period, sharpness, direction = draws.integer(48, 180), draws.integer(1, 6), draws.integer(0, TURN - 1)
    wave = _wave(_along(direction, height, width) + draws.integer(0, 4095), period)
    if name != "stripes":
        other = _wave(_along(direction + TURN // 4, height, width) + draws.integer(0, 4095), period)
        both = wave * other
        wave = (2 * both - 255 * (wave + other)) // 255 + 255 if name == "checks" else both // 255
    return np.clip((wave - 128) * sharpness + 128, 0, 255)


def texture(draws: Draws, height: int, width: int, base: tuple[int, int, int]) -> np.ndarray:
    """A patterned surface about one colour, lit from one side.

    Args:
        draws: pattern, second colour and light come from here.
        height: pixels.
        width: pixels.
        base: RGB, 0 … 255.

    Returns:
        int32 [3, height, width], 0 … 255.
    """
    contrast = [min(255, max(0, value + draws.integer(-72, 72))) - value for value in base]
    surface = _pattern(draws, height, width) * np.array(contrast, np.int32)[:, None, None]
    surface += np.array(base, np.int32)[:, None, None] * 255
    light = _along(draws.integer(0, TURN - 1), height, width)
    light -= (light[0, 0] + light[-1, -1]) // 2
    light = light * draws.integer(0, 72) // (8 * (height + width)) + 256
    surface *= light
    surface >>= 16
    return np.clip(surface, 0, 255, out=surface)


def colour(draws: Draws) -> tuple[int, int, int]:
    """RGB, each channel even over 16 … 240."""
    return draws.integer(16, 240), draws.integer(16, 240), draws.integer(16, 240)


def within(side: int, cover: np.ndarray, top: int, left: int) -> tuple[np.ndarray, int, int]:
    """What of a cover [h, w] at row `top`, column `left` lies on a square canvas: (cover, top, left), maybe empty."""
    bottom, right = min(side, top + cover.shape[0]), min(side, left + cover.shape[1])
    first, start = min(max(0, top), side), min(max(0, left), side)
    return cover[first - top : max(0, bottom - top), start - left : max(0, right - left)], first, start


def blend(canvas: np.ndarray, surface: np.ndarray, cover: np.ndarray, top: int, left: int) -> None:
    """Lays a surface [3, h, w] onto the canvas in place, at row `top`, column `left`, by its cover [h, w], 0 … FULL."""
    part = canvas[:, top : top + cover.shape[0], left : left + cover.shape[1]]
    change = surface - part
    change *= cover
    change += FULL // 2
    change //= FULL
    part += change


def paint(draws: Draws, canvas: np.ndarray, cover: np.ndarray, top: int, left: int) -> None:
    """Paints something onto the canvas in place, with a random texture that stands off from what is there.

    Of up to eight textures it takes the first whose mean colour is close to few pixels of the neighbourhood, else the best.

    Args:
        draws: colours and textures come from here.
        canvas: int32 [3, H, W].
        cover: int32 [h, w], 0 … FULL, at row `top`, column `left`, not beyond the canvas.
        top: pixels.
        left: pixels.
    """
    height, width = cover.shape
    around = canvas[:, top : top + height, left : left + width]
    fewest, best = height * width + 1, None
    for _ in range(8):
        surface = texture(draws, height, width, colour(draws))
        mean = surface.sum(axis=(1, 2), dtype=np.int32) // (height * width)
        close = np.count_nonzero(np.abs(around - mean[:, None, None]).sum(axis=0) < STANDS_OFF)
        if close < fewest:
            fewest, best = close, surface
        if 8 * close <= height * width:
            break
    blend(canvas, best, cover, top, left)


def _region(draws: Draws, canvas: np.ndarray) -> None:
    """Covers a part of the canvas with another texture, up to a border as sharp as an object's but nowhere as even."""
    height, width = canvas.shape[1:]
    field = clouds(draws, height, width, draws.integer(24, 56)) * 10
    field += clouds(draws, height, width, draws.integer(6, 12)) * 4
    field += _along(draws.integer(0, TURN - 1), height, width) * draws.integer(1, 3)
    field -= field[draws.integer(0, height - 1), draws.integer(0, width - 1)]
    cover = np.clip(field * 3 + FULL // 2, 0, FULL)
    blend(canvas, texture(draws, height, width, colour(draws)), cover, 0, 0)


def _line(draws: Draws, side: int) -> np.ndarray:
    """A straight bar, at least three times as long as thick: corners int64 [4, 2], units, on a canvas of `side` pixels."""
    thickness = draws.integer(UNIT, 7 * UNIT)
    length = draws.integer(max(3 * thickness, 12 * UNIT), 96 * UNIT)
    cosine, sine = DIRECTIONS[draws.integer(0, TURN - 1)]
    along, across = np.array((cosine, sine)) * length // SCALE, np.array((-sine, cosine)) * thickness // SCALE
    return np.array((0 * along, along, along + across, across)) + _place(draws, side)


def _arc(draws: Draws, side: int) -> np.ndarray:
    """A thin arc of at most half a turn: corners int64 [n, 2], units, on a canvas of `side` pixels."""
    thickness, radius = draws.integer(UNIT, 5 * UNIT), draws.integer(8 * UNIT, 60 * UNIT)
    corners = draws.integer(0, TURN - 1) + 20 * np.arange(draws.integer(9, 24))
    arc = DIRECTIONS[corners % TURN]
    return np.concatenate((arc * radius // SCALE, arc[::-1] * (radius - thickness) // SCALE)) + _place(draws, side)


def _lump(draws: Draws, side: int) -> np.ndarray:
    """An irregular rounded lump with bays: corners int64 [60, 2], units, on a canvas of `side` pixels."""
    radius = draws.integer(7 * UNIT, 24 * UNIT)
    # How far it reaches in seven directions, smooth between them; two bays, so that it cannot pass for a circle.
    knots = np.array([draws.integer(190, 255) for _ in range(7)])
    knots[[0, draws.integer(2, 5)]] = draws.integer(40, 80), draws.integer(40, 80)
    knot, part = np.divmod(np.arange(60) * 7, 60)
    part = part * part * (180 - 2 * part) // 3600
    reach = (knots[knot] * (60 - part) + knots[(knot + 1) % 7] * part) * radius // (60 * 255)
    corners = DIRECTIONS[(draws.integer(0, TURN - 1) + 16 * np.arange(60)) % TURN]
    return corners * reach[:, None] // SCALE + _place(draws, side)


def _place(draws: Draws, side: int) -> tuple[int, int]:
    """A point (x, y) on a canvas of `side` pixels, units."""
    return draws.integer(0, side * UNIT), draws.integer(0, side * UNIT)


def background(draws: Draws, side: int) -> np.ndarray:
    """A patchwork of textures with bars, arcs and lumps on it; int32 [3, side, side], 0 … 255."""
    canvas = texture(draws, side, side, colour(draws))
    for _ in range(draws.integer(0, 3)):
        _region(draws, canvas)
    for _ in range(draws.integer(2, 10)):
        corners = draws.choice((_line, _arc, _lump))(draws, side)
        cover, top, left = within(side, *coverage(corners, (len(corners),)))
        if cover.size:
            paint(draws, canvas, cover, top, left)
    return canvas


def photographed(draws: Draws, canvas: np.ndarray) -> np.ndarray:
    """The canvas with the noise of a camera: uint8 [h, w, 3]. Each value's noise is a difference of two even bytes."""
    one, other = draws.bytes(2, *canvas.shape)
    noise = np.subtract(one, other, dtype=np.int16)
    noise *= draws.integer(4, 40)
    noise >>= 9
    noise += canvas.astype(np.int16)
    return np.stack(tuple(np.clip(noise, 0, 255, out=noise).astype(np.uint8)), axis=-1)
