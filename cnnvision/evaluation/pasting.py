"""A predicted mask put into its image, straight into run lengths: no image-sized array is made.

The mask is padded by one position of zeros, its box grows by as much, and bilinear interpolation fills the box. Two rules:
"exact" reads the mask where the centre of each pixel lies; "torchvision" truncates the grown box to whole pixels first, as
torchvision's `maskrcnn_resnet50_fpn` does, whose published numbers depend on it: of boxes of 8 to 30 pixels it makes masks
.8 of a pixel wider on average.

Down a column of pixels the interpolation is linear between two rows of the mask, so it crosses the threshold once at most
between them: all that is computed is where.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int64

from cnnvision.types import Alignment

Axis = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""First visible pixel; of each visible pixel, the mask's positions before and after it, and how far between them it lies."""


def pasted_runs(
    mask: Float32[np.ndarray, "m m"],
    box: Float32[np.ndarray, "4"],
    size: tuple[int, int],
    alignment: Alignment = "torchvision",
    threshold: float = 0.5,
) -> Int64[np.ndarray, "n"]:
    """Where a mask exceeds the threshold, as COCO's run lengths: down the columns, of zeros first; the sum is H * W.

    Args:
        mask: probabilities within the box.
        box: x1 y1 x2 y2, pixels of the image; it may reach beyond it.
        size: (height, width) of the image.
        alignment: see above.
        threshold: of probabilities.
    """
    (height, width), padded, axis = size, np.pad(mask, 1), _exact_axis if alignment == "exact" else _torchvision_axis
    left, x_low, x_high, x_between = axis(box[0], box[2], len(mask), width)
    top, y_low, y_high, y_between = axis(box[1], box[3], len(mask), height)
    if not len(x_low) or not len(y_low):
        return np.array([height * width], np.int64)
    columns = (1 - x_between) * padded[:, x_low] + x_between * padded[:, x_high]  # [m + 2, visible columns]
    inside = lambda row, column: (
        (1 - y_between[row]) * columns[y_low[row], column] + y_between[row] * columns[y_high[row], column] > threshold
    )
    # Rows of pixels between the same two rows of the mask: their first and last pixel say whether the threshold is crossed.
    firsts = np.flatnonzero(np.diff(y_low, prepend=-1))
    ends = np.append(firsts[1:], len(y_low))
    every = np.arange(len(x_low))[:, None]
    first_in, last_in = inside(firsts[None], every), inside(ends[None] - 1, every)
    crossed, group = np.nonzero(first_in != last_in)
    low, high = firsts[group], ends[group] - 1  # `low` is as the group's first pixel, `high` as its last
    while np.any(high - low > 1):
        middle = (low + high) // 2
        like_first = inside(middle, crossed) == first_in[crossed, group]
        low, high = np.where(like_first, middle, low), np.where(like_first, high, middle)
    change = np.zeros(first_in.shape, np.int64)
    change[crossed, group] = high
    start = np.where(first_in, firsts, change)
    stop = np.where(last_in, ends, change)
    filled = stop > start
    offset = (left + every) * height + top
    return _runs((offset + start)[filled], (offset + stop)[filled], height * width)


def part_of_runs(runs: Int64[np.ndarray, "n"], size: tuple[int, int]) -> tuple[tuple[slice, slice], Bool[np.ndarray, "_ _"]]:
    """Where in an image run lengths have ones, as (rows, columns), and what they have there: no array is larger than the
    columns of the image that hold the object. Empty slices where there is no one.
    """
    edges, height = np.cumsum(runs), size[0]
    starts, stops = edges[0:-1:2], edges[1::2]
    if not len(starts):
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    left, right = int(starts[0]) // height, -(-int(stops[-1]) // height)
    lengths = np.diff(np.stack([starts, stops], axis=1).ravel(), prepend=left * height, append=right * height)
    part = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(right - left, height).T
    rows = np.flatnonzero(part.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return (slice(top, bottom), slice(left, right)), part[top:bottom]


def _exact_axis(start: np.float32, stop: np.float32, cells: int, limit: int) -> Axis:
    """Along one axis, the pixels of the image whose centre is less than a position of the mask's away from one of its, and
    where in the padded mask each of them lies."""
    step = max(float(stop) - float(start), 1e-3) / cells  # pixels from one position of the mask to the next
    first, last = int(np.floor(start - 0.5 * step - 0.5)) + 1, int(np.ceil(stop + 0.5 * step - 0.5)) - 1
    pixels = np.arange(max(first, 0), min(last + 1, limit))
    position = np.clip((pixels + 0.5 - float(start)) / step + 0.5, 0.0, cells + 1.0).astype(np.float32)
    low = np.minimum(position.astype(np.int64), cells)
    return max(first, 0), low, low + 1, position - low.astype(np.float32)


def _torchvision_axis(start: np.float32, stop: np.float32, cells: int, limit: int) -> Axis:
    """Along one axis, which pixels of the image the grown box covers, and where in the padded mask each of them lies."""
    half, middle = (stop - start) * np.float32(0.5), (stop + start) * np.float32(0.5)
    half *= np.float32((cells + 2) / cells)
    first, last = int(middle - half), int(middle + half)  # truncated towards zero
    length = max(last - first + 1, 1)
    pixels = np.arange(max(first, 0), min(last + 1, limit)) - first
    position = np.float32((cells + 2) / length) * (pixels.astype(np.float32) + np.float32(0.5)) - np.float32(0.5)
    position = np.maximum(position, np.float32(0.0))
    low = position.astype(np.int64)
    return max(first, 0), low, np.minimum(low + 1, cells + 1), position - low.astype(np.float32)


def _runs(starts: np.ndarray, stops: np.ndarray, total: int) -> Int64[np.ndarray, "n"]:
    """Run lengths of a row of `total` pixels that is filled from each start to its stop, in order; neighbours may touch."""
    edges = np.stack([starts, stops], axis=1).ravel()
    inner = edges[1:-1].reshape(-1, 2)
    edges = np.concatenate([[0], edges[:1], inner[inner[:, 0] != inner[:, 1]].ravel(), edges[-1:], [total]])
    runs = np.diff(edges)
    return runs if runs[-1] else runs[:-1]
