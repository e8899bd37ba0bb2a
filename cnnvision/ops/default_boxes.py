"""Default boxes of SSD: boxes of several shapes at each position of several maps, from which objects are regressed (Liu et
al. 2016, section 2.1, "Default boxes and aspect ratios", and section 2.2, "Choosing scales and aspect ratios").

Their order is that of anchors (ops/anchors.py): maps from the finest to the coarsest, their positions row by row, the boxes
of a position one after the other.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cnnvision.ops.anchors import in_image

FAR = 2**30
"""Pixels: farther than any box."""


def sides_at(scale: float, next_scale: float, ratios: Sequence[float]) -> Float[np.ndarray, "a 2"]:
    """(width, height) of the default boxes of one position, as shares of the input's.

    Args:
        scale: s of the map.
        next_scale: s of the next one. The second box has √(s·s′) on both sides.
        ratios: width / height of further boxes, of area s²; each is followed by one of the inverse.

    Returns:
        float32 [2 + 2 · ratios, 2]; no side is longer than the input's, as in torchvision.
    """
    between = math.sqrt(scale * next_scale)
    sides = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sides += [(long, short), (short, long)]
    return np.minimum(np.array(sides, np.float32), np.float32(1.0))


def default_boxes(
    positions: Sequence[tuple[int, int]],
    size: tuple[int, int],
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    steps: Sequence[float] | None = None,
) -> Float[np.ndarray, "_ 4"]:
    """The default boxes of all maps.

    Args:
        positions: (height, width) of each map, from the finest on.
        size: (height, width) of the input, pixels.
        scales: s of each map as a share of the input's sides, and one more.
        ratios: of each map, as in `sides_at`.
        steps: input pixels from one position of each map to the next; None for as many as divide the sides evenly. The
            first position lies half a step from the corner.

    Returns:
        float32 [n, 4] x1 y1 x2 y2, input pixels, not clipped: some reach beyond the image. Of maps that were rounded up,
        with steps, some are centred beyond it.
    """
    boxes, whole = [], np.array(size[::-1], np.float32)
    for i, (rows, columns) in enumerate(positions):
        down, across = (rows, columns) if steps is None else (size[0] / steps[i], size[1] / steps[i])
        # In this order of operations they are torchvision's, bit for bit.
        y = (np.arange(rows, dtype=np.float32) + np.float32(0.5)) / np.float32(down)
        x = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) / np.float32(across)
        centres = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)[:, :, None]
        half = np.float32(0.5) * sides_at(scales[i], scales[i + 1], ratios[i])[None, None]
        corners = np.concatenate([(centres - half) * whole, (centres + half) * whole], axis=-1)
        boxes.append(corners.reshape(-1, 4))
    return np.concatenate(boxes)


def outside_padding(boxes: Float[Array, "n 4"], size: Int[Array, "2"], whole: tuple[int, int]) -> Bool[Array, "n"]:
    """Which boxes (x1 y1 x2 y2, input pixels) do not have their centre in the padding.

    Args:
        size: (height, width) of the part of the input that is image, pixels.
        whole: (height, width) of the input. Where the image fills it there is no padding, and boxes count that are centred
            beyond the border.
    """
    return in_image(boxes, jnp.where(size < jnp.array(whole, size.dtype), size, FAR))
