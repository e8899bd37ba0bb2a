"""Draws the images of `shapes`: a pure function (config, split, index) -> image, objects and masks.

The same pixels on every machine: all arithmetic is on integers (or on float64 that holds integers below 2^53), all
randomness comes from `shapes_random`. Image i does not depend on any other.

What belongs to an object: a pixel is the object's where the form covers at least half of it; of two objects that both do, the
later one (nearer to the eye) has it. A ring's hole is no part of the ring. Image, masks, boxes and areas follow from this rule.
"""

import dataclasses
import functools

import numpy as np

from cnnvision.data.shapes_forms import (
    CLASSES,
    FULL,
    TURN,
    UNIT,
    coverage,
    form_contours,
    log_uniform_sides,
    scaled_to,
    stretched_and_turned,
)
from cnnvision.data.shapes_random import Draws
from cnnvision.data.shapes_textures import background, colour, overlap, paint, texture, with_noise

SEED = 20240
SIDE = 128
LEAST_VISIBLE = 40
"""At least so many hundredths of an object's full area are visible."""
LEAST_PIXELS = 30
"""At least so many pixels of an object are visible."""
SPLITS = {"train": 2000, "val": 500}
_SPLIT_WORDS = {"train": 0, "val": 1}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the images of one config have in common.

    Attributes:
        word: tells the random streams of the configs apart.
        objects: least and greatest number of objects an image.
        sides: least and greatest longer side of an object's full form, pixels.
        area_ranges: name -> (least, most) visible area in square pixels: a third of the objects lies in each.
    """

    word: int
    objects: tuple[int, int]
    sides: tuple[int, int]
    area_ranges: dict[str, tuple[float, float]]


RECIPES = {
    "shapes": Recipe(0, (1, 8), (12, 80), {"small": (0.0, 225.0), "medium": (225.0, 750.0), "large": (750.0, 1e10)}),
    "single": Recipe(1, (1, 1), (24, 96), {"small": (0.0, 700.0), "medium": (700.0, 1800.0), "large": (1800.0, 1e10)}),
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One image and all that is known about it; n objects from the farthest to the nearest.

    Attributes:
        image: uint8 [128, 128, 3] RGB.
        instances: uint8 [128, 128]: 0 background, i + 1 where object i is visible.
        labels: int64 [n], index into CLASSES.
        boxes: int64 [n, 4], x1 y1 x2 y2 pixels: tight bounds of what is visible; pixel i covers [i, i + 1).
        areas: int64 [n], visible pixels.
        full_areas: int64 [n], pixels of the whole form, had nothing hidden it and no border cut it.
        sides: int64 [n], longer side of the whole form, 1/64 pixel.
    """

    image: np.ndarray
    instances: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    full_areas: np.ndarray
    sides: np.ndarray

    @property
    def semantic(self) -> np.ndarray:
        """uint8 [128, 128]: 0 background, class + 1."""
        return np.concatenate([[0], self.labels + 1]).astype(np.uint8)[self.instances]


@dataclasses.dataclass
class _Piece:
    """A form ready to be put down: its coverage, the position of the coverage's first pixel, and what must stay visible."""

    label: int
    side: int
    cover: np.ndarray
    full_area: int
    top: int = 0
    left: int = 0

    @property
    def needed(self) -> int:
        return max(min(LEAST_PIXELS, self.full_area), -(-self.full_area * LEAST_VISIBLE // 100))


@functools.cache
def _sides(least: int, most: int) -> list[int]:
    return log_uniform_sides(least, most)


def _cut(draws: Draws, recipe: Recipe) -> _Piece:
    """A piece of random class, size, proportions and direction."""
    label, side = draws.integer(0, len(CLASSES) - 1), draws.choice(_sides(*recipe.sides))
    contours = form_contours(label, draws)
    contours = stretched_and_turned(contours, draws.integer(208, 256), draws.integer(0, TURN - 1))
    phase = np.array((draws.integer(0, UNIT - 1), draws.integer(0, UNIT - 1)))
    cover, _, _ = coverage([contour + phase for contour in scaled_to(contours, side)])
    return _Piece(label, side, cover, int(np.count_nonzero(2 * cover >= FULL)))


def _try_position(draws: Draws, piece: _Piece, placed: list[_Piece], instances: np.ndarray) -> bool:
    """Puts a piece on top of those placed, at one random position; False where that would hide too much of any."""
    height, width = piece.cover.shape
    piece.top, piece.left = draws.integer(0, SIDE) - height // 2, draws.integer(0, SIDE) - width // 2
    inside, place = overlap(piece.cover.shape, piece.top, piece.left, instances.shape)
    mask = 2 * piece.cover[inside] >= FULL
    if 100 * np.count_nonzero(mask) < 75 * piece.full_area:
        return False
    window = instances[place]
    left_over = np.bincount(instances.ravel(), minlength=len(placed) + 1) - np.bincount(
        window[mask], minlength=len(placed) + 1
    )
    if any(left_over[number] < other.needed for number, other in enumerate(placed, start=1)):
        return False
    window[mask] = len(placed) + 1
    return True


def _arrange(draws: Draws, recipe: Recipe) -> tuple[list[_Piece], np.ndarray]:
    """Pieces from the farthest to the nearest, and the instance map uint8 [128, 128]."""
    count = draws.integer(*recipe.objects)
    while True:
        placed, instances = [], np.zeros((SIDE, SIDE), np.uint8)
        for piece in [_cut(draws, recipe) for _ in range(count)]:
            if not any(_try_position(draws, piece, placed, instances) for _ in range(40)):
                break
            placed.append(piece)
        if len(placed) == count:
            return placed, instances


def _paint_piece(draws: Draws, canvas: np.ndarray, piece: _Piece) -> None:
    """Gives a piece a fill that stands off from what lies about it, and paints it."""
    height, width = piece.cover.shape
    window = canvas[overlap(piece.cover.shape, piece.top, piece.left, canvas.shape[:2])[1]]
    mean = [int(value) for value in window.sum(axis=(0, 1)) // (window.shape[0] * window.shape[1])]
    for _ in range(8):
        base = colour(draws)
        if sum(abs(a - b) for a, b in zip(base, mean, strict=True)) >= 120:
            break
    paint(canvas, texture(draws, height, width, base), piece.cover, piece.top, piece.left)


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box x1 y1 x2 y2 of the True pixels of a boolean [H, W] that has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw(config: str, split: str, index: int) -> Drawing:
    """Image `index` of a split.

    Args:
        config: a key of RECIPES.
        split: a key of SPLITS.
        index: any number from 0; the data set has SPLITS[split] of them.
    """
    recipe = RECIPES[config]
    key = (SEED, recipe.word)
    pieces, instances = _arrange(Draws(key, (0, _SPLIT_WORDS[split], index)), recipe)
    look = Draws(key, (1, _SPLIT_WORDS[split], index))
    canvas = background(look, SIDE)
    for piece in pieces:
        _paint_piece(look, canvas, piece)
    return Drawing(
        image=with_noise(look, canvas),
        instances=instances,
        labels=np.array([piece.label for piece in pieces], np.int64),
        boxes=np.array([_bounds(instances == number) for number in range(1, len(pieces) + 1)], np.int64).reshape(-1, 4),
        areas=np.bincount(instances.ravel(), minlength=len(pieces) + 1)[1:],
        full_areas=np.array([piece.full_area for piece in pieces], np.int64),
        sides=np.array([piece.side for piece in pieces], np.int64),
    )
