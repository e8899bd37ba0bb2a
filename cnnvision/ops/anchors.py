"""Anchors: boxes at each position of a feature map, from which objects are regressed (Ren et al. 2015, section 3.1.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def anchors_at(sizes: Sequence[float], ratios: Sequence[float]) -> Float[np.ndarray, "a 4"]:
    """The anchors of one position, about its centre.

    Args:
        sizes: square roots of their areas, input pixels.
        ratios: height / width.

    Returns:
        float32 [ratios · sizes, 4] x1 y1 x2 y2, the sizes of one ratio next to each other; corners on whole pixels, as in
        the published code and all that follow it.
    """
    ratios = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    sizes = np.asarray(sizes, np.float32)[None]
    heights, widths = (sizes * ratios).ravel(), (sizes / ratios).ravel()
    return np.round(np.stack([-widths, -heights, widths, heights], axis=1) / np.float32(2.0))


def grid(
    anchors: Float[np.ndarray, "a 4"], positions: tuple[int, int], strides: tuple[int, int]
) -> Float[np.ndarray, "_ 4"]:
    """The anchors of every position of a feature map.

    Args:
        anchors: those of one position, about its centre.
        positions: (height, width) of the feature map.
        strides: input pixels from one position to the next, down and to the right; the first lies at (0, 0), the corner of
            the image.

    Returns:
        float32 [height · width · a, 4] x1 y1 x2 y2, input pixels: row by row, all anchors of a position next to each other.
        Some reach beyond the image.
    """
    y, x = (np.arange(count, dtype=np.float32) * stride for count, stride in zip(positions, strides, strict=True))
    corners = np.stack(np.broadcast_arrays(x[None, :], y[:, None], x[None, :], y[:, None]), axis=-1)
    return (corners[:, :, None] + anchors[None, None]).reshape(-1, 4).astype(np.float32)
