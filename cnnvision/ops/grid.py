"""YOLO's grid (Redmon et al. 2016, "You only look once", section 2): an image divided into cells, the object that each is
responsible for, and boxes relative to a cell. Everything is for one image; s and t are rows and columns of the grid."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from cnnvision import types
from cnnvision.ops.boxes import area, from_fractions, iou, to_fractions
from cnnvision.types import ObjectTarget


def corners(cells: tuple[int, int]) -> Float[np.ndarray, "s t 2"]:
    """(column, row) of each of (rows, columns) cells: its upper left corner, in cells."""
    return np.stack(np.meshgrid(np.arange(cells[1]), np.arange(cells[0])), axis=-1).astype(np.float32)


def decode(boxes: Float[Array, "s t B 4"]) -> Float[Array, "s t B 4"]:
    """Boxes of each cell -> (x, y, w, h), upper left corner and sides, as fractions of the input (boxes.py); not clipped.

    Args:
        boxes: x, y from the cell's corner, in cells, and √w, √h of shares of the input's sides. A negative root counts as
            its square, as in the authors' code.
    """
    cells = boxes.shape[:2]
    of_grid = jnp.array([cells[1], cells[0]], jnp.float32)[None, None, None]
    centres = (boxes[..., :2] + jnp.asarray(corners(cells))[:, :, None]) / of_grid
    sides = jnp.square(boxes[..., 2:])
    return jnp.concatenate([centres - sides / 2.0, sides], axis=-1)


def encode(fractions: Float[Array, "s t 4"]) -> Float[Array, "s t 4"]:
    """The inverse of `decode` for one box of each cell."""
    middle, (rows, columns) = fractions[..., :2] + fractions[..., 2:] / 2.0, fractions.shape[:2]
    centres = middle * jnp.array([columns, rows], jnp.float32)[None, None] - jnp.asarray(corners((rows, columns)))
    return jnp.concatenate([centres, jnp.sqrt(jnp.maximum(fractions[..., 2:], 0.0))], axis=-1)


def middles(cells: tuple[int, int], height: int, width: int) -> Float[np.ndarray, "s t 2"]:
    """(x, y) of the middle of each cell, input pixels."""
    return (corners(cells) + 0.5) * np.array([width / cells[1], height / cells[0]], np.float32)


def in_image(size: Int[Array, "2"], cells: tuple[int, int], height: int, width: int) -> Bool[Array, "s t"]:
    """Which cells have a part of the image in them, (height, width) = `size`, pixels: all that may hold an object."""
    begins = corners(cells) * np.array([width / cells[1], height / cells[0]], np.float32)
    return jnp.all(jnp.asarray(begins) < size[None, None, ::-1].astype(jnp.float32), axis=-1)


@struct.dataclass
class Cells:
    """What each cell of an image stands for.

    Attributes:
        object: int32 [s, t], the object of the cell; 0 where there is none.
        holds: bool [s, t], it has an object.
        empty: bool [s, t], there is none in it: neither an object, nor a crowd, nor padding.
        lost: bool [n], objects whose cell is another one's.
    """

    object: types.Array
    holds: types.Array
    empty: types.Array
    lost: types.Array


def assign(target: ObjectTarget, size: Int[Array, "2"], cells: tuple[int, int], height: int, width: int) -> Cells:
    """ "If the center of an object falls into a grid cell, that grid cell is responsible for detecting that object"
    (section 2).

    A cell has one object, the largest whose centre it holds (of equals the first); the others are lost. A centre on the
    input's last border belongs to the last cell. Crowds have no cell, and cells with their middle in one are not empty.

    Args:
        target: of this image: boxes [n, 4], labels, valid and crowd [n].
        size: (height, width) of the part of the input that is image, pixels.
        cells: rows and columns of the grid.
        height, width: of the input, pixels.
    """
    rows, columns = cells
    fractions = to_fractions(target.boxes, height, width)
    middle = fractions[:, :2] + fractions[:, 2:] / 2.0
    place = lambda share, count: jnp.clip(jnp.floor(share * count).astype(jnp.int32), 0, count - 1)
    column, row = place(middle[:, 0], columns), place(middle[:, 1], rows)
    there = target.valid & ~target.crowd
    inside = (jnp.arange(rows * columns)[:, None] == (row * columns + column)[None]) & there[None]
    largest = jnp.argmax(jnp.where(inside, area(target.boxes)[None], -1.0), axis=1).astype(jnp.int32)
    holds = jnp.any(inside, axis=1)
    kept = jnp.any(inside & (largest[:, None] == jnp.arange(len(there))[None]), axis=0)
    x, y = middles(cells, height, width).reshape(-1, 2).T
    x1, y1, x2, y2 = target.boxes.T
    covers = (x1[None] <= x[:, None]) & (x[:, None] < x2[None]) & (y1[None] <= y[:, None]) & (y[:, None] < y2[None])
    in_crowd = jnp.any(covers & (target.valid & target.crowd)[None], axis=1)
    grid = lambda per_cell: per_cell.reshape(rows, columns)
    empty = in_image(size, cells, height, width) & ~grid(holds | in_crowd)
    return Cells(grid(jnp.where(holds, largest, 0)), grid(holds), empty, there & ~kept)


def responsible(predicted: Float[Array, "s t B 4"], truth: Float[Array, "s t 4"]) -> tuple[Bool[Array, "s t B"], Array]:
    """Which box of each cell is responsible for its object: that of the highest IoU with it now (section 2.2); where all are
    0, the one nearest to it, as in the authors' code. And the IoU of each box, [s, t, B].

    Args:
        predicted, truth: (x, y, w, h) as fractions of the input.
    """
    truth = jnp.broadcast_to(truth[:, :, None], predicted.shape)
    overlaps = iou(from_fractions(predicted, 1, 1), from_fractions(truth, 1, 1))
    centred = lambda boxes: jnp.concatenate([boxes[..., :2] + boxes[..., 2:] / 2.0, boxes[..., 2:]], axis=-1)
    distance = jnp.sum(jnp.square(centred(predicted) - centred(truth)), axis=-1)
    near = jnp.any(overlaps > 0, axis=-1, keepdims=True)
    best = jnp.argmax(jnp.where(near, overlaps, -distance), axis=-1)
    return best[..., None] == jnp.arange(predicted.shape[2])[None, None], overlaps
