"""Draws the images of `shapes`: a pure function (config, split, index) -> image, objects and masks.

The same pixels on every machine: all arithmetic is on integers (or on float64 that holds integers below 2^53), all
randomness comes from `shapes_random`. Image i does not depend on any other.

What belongs to an object: a pixel is the object's where the form covers at least half of it; of two objects that both do,
the later one, nearer to the eye, has it. A ring's hole is no part of the ring: it shows what lies behind. Image, masks,
boxes and areas all follow from this rule.

Whoever changes a pixel or a number gives the builder in shapes/__init__.py a new version: prepared data sets carry it.
"""

import dataclasses
import functools

import numpy as np

from cnnvision.data.shapes.forms import CLASSES, FULL, TURN, UNIT, coverage, form, log_uniform_sides, placed
from cnnvision.data.shapes.random import Draws
from cnnvision.data.shapes.textures import background, paint, photographed, within

SEED = 1
SIDE = 128
LEAST_VISIBLE = 40
"""Least visible share of an object's full area, percent."""
LEAST_INSIDE = 80
"""Least share of an object's full area within the image, percent."""
LEAST_PIXELS = 64
"""Least visible pixels of an object, or nine tenths of a smaller one."""
CROWDING = 45
"""How often an object is put on another one, percent."""
ATTEMPTS = 60
"""Positions that are tried for an object before all of the image is arranged anew."""
SPLITS = {"train": 2000, "val": 500}
_SPLIT_WORDS = {"train": 0, "val": 1}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the images of one config have in common.

    Attributes:
        word: separates the random streams of the configs.
        objects: least and greatest number of objects an image.
        sides: least and greatest longer side of an object's full form, pixels.
        area_ranges: name -> (least, most) visible area in square pixels: a third of the objects lies in each.
    """

    word: int
    objects: tuple[int, int]
    sides: tuple[int, int]
    area_ranges: dict[str, tuple[float, float]]


RECIPES = {
    "shapes": Recipe(0, (1, 8), (12, 80), {"small": (0.0, 215.0), "medium": (215.0, 705.0), "large": (705.0, 1e10)}),
    "single": Recipe(1, (1, 1), (24, 96), {"small": (0.0, 660.0), "medium": (660.0, 1610.0), "large": (1610.0, 1e10)}),
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
    """A form to be put down.

    Attributes:
        label: index into CLASSES.
        side: longer side of the whole form, units.
        cover: int32 [h, w], 0 … FULL.
        hole: bool [h, w], the pixels of a ring's hole; None for other forms.
        top, left: where the first pixel of `cover` lies in the image; may be negative.
    """

    label: int
    side: int
    cover: np.ndarray
    hole: np.ndarray | None
    top: int = 0
    left: int = 0

    @functools.cached_property
    def mask(self) -> np.ndarray:
        return 2 * self.cover >= FULL

    @functools.cached_property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))

    @functools.cached_property
    def needed(self) -> int:
        return max(min(LEAST_PIXELS, self.area * 9 // 10), -(-self.area * LEAST_VISIBLE // 100))


@functools.cache
def _sides(least: int, most: int) -> list[int]:
    return log_uniform_sides(least, most)


def _cut(draws: Draws, recipe: Recipe) -> _Piece:
    """A piece of random class, size, proportions and direction."""
    label, side = draws.integer(0, len(CLASSES) - 1), draws.choice(_sides(*recipe.sides))
    corners, lengths = form(label, draws)
    phase = draws.integer(0, UNIT - 1), draws.integer(0, UNIT - 1)
    corners = placed(corners, draws.integer(208, 256), draws.integer(0, TURN - 1), side, phase)
    cover, _, _ = coverage(corners, lengths)
    if len(lengths) == 1:
        return _Piece(label, side, cover, None)
    disc, _, _ = coverage(corners[: lengths[0]], lengths[:1])
    return _Piece(label, side, cover, (2 * disc >= FULL) & (2 * cover < FULL))


def _move(draws: Draws, piece: _Piece, others: list[_Piece]) -> None:
    """Moves a piece to a random position: somewhere in the image, or on another piece, so that pieces often overlap."""
    if others and draws.chance(CROWDING):
        other = draws.choice(others)
        y = other.top + draws.integer(0, other.cover.shape[0])
        x = other.left + draws.integer(0, other.cover.shape[1])
    else:
        y, x = draws.integer(0, SIDE), draws.integer(0, SIDE)
    piece.top, piece.left = y - piece.cover.shape[0] // 2, x - piece.cover.shape[1] // 2


def _put(instances: np.ndarray, piece: _Piece, number: int) -> np.ndarray:
    """A copy of the instance map with a piece on top of all others."""
    mask, top, left = within(SIDE, piece.mask, piece.top, piece.left)
    instances = instances.copy()
    instances[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = number
    return instances


def _areas(instances: np.ndarray, count: int) -> list[int]:
    """How many pixels each of the numbers 1 … count has."""
    return [int(np.count_nonzero(instances == number)) for number in range(1, count + 1)]


def _recognisable(pieces: list[_Piece], instances: np.ndarray) -> bool:
    """Whether enough is visible of each piece, numbered from 1 in the instance map, and of the hole of each ring."""
    visible = _areas(instances, len(pieces))
    if 100 * visible[-1] < LEAST_INSIDE * pieces[-1].area:  # nothing but the border hides the last piece
        return False
    if any(area < piece.needed for area, piece in zip(visible, pieces, strict=True)):
        return False
    for number, piece in enumerate(pieces, start=1):
        if piece.hole is not None:
            hole, top, left = within(SIDE, piece.hole, piece.top, piece.left)
            window = instances[top : top + hole.shape[0], left : left + hole.shape[1]]
            if 100 * np.count_nonzero(window[hole] < number) < LEAST_VISIBLE * np.count_nonzero(piece.hole):
                return False
    return True


def _arrange(draws: Draws, recipe: Recipe) -> tuple[list[_Piece], np.ndarray]:
    """Pieces from the farthest to the nearest, and the instance map uint8 [128, 128].

    The pieces are cut first and then moved until all are recognisable, since to cut others would favour small ones.
    """
    count = draws.integer(*recipe.objects)
    while True:
        pieces, instances = [], np.zeros((SIDE, SIDE), np.uint8)
        for piece in [_cut(draws, recipe) for _ in range(count)]:
            for _ in range(ATTEMPTS):
                _move(draws, piece, pieces)
                candidate = _put(instances, piece, len(pieces) + 1)
                if _recognisable([*pieces, piece], candidate):
                    pieces, instances = [*pieces, piece], candidate
                    break
            else:
                break
        if len(pieces) == count:
            return pieces, instances


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
        paint(look, canvas, *within(SIDE, piece.cover, piece.top, piece.left))
    return Drawing(
        image=photographed(look, canvas),
        instances=instances,
        labels=np.array([piece.label for piece in pieces], np.int64),
        boxes=np.array([_bounds(instances == number) for number in range(1, len(pieces) + 1)], np.int64).reshape(-1, 4),
        areas=np.array(_areas(instances, len(pieces)), np.int64),
        full_areas=np.array([piece.area for piece in pieces], np.int64),
        sides=np.array([piece.side for piece in pieces], np.int64),
    )
