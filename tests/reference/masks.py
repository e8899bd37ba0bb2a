"""Masks the slow way: what Mask R-CNN learns of a region."""

import math

import numpy as np

from tests.reference.roi import bilinear


def mask_target(mask, region, size, offset=0.0):
    """Whole mask [h, w], region x1 y1 x2 y2 -> [size, size] in 0 … 1: the mean of ⌈side / size⌉² samples of each bin.

    offset: where the centre of pixel 0 lies; torchvision has it at 0.
    """
    x1, y1, x2, y2 = (float(value) - offset for value in region)
    height, width = max(y2 - y1, 1.0), max(x2 - x1, 1.0)
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    target = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            ys = [y1 + (i + (k + 0.5) / rows) * height / size for k in range(rows)]
            xs = [x1 + (j + (k + 0.5) / columns) * width / size for k in range(columns)]
            target[i, j] = np.mean([bilinear(mask[..., None].astype(float), y, x)[0] for y in ys for x in xs])
    return target


def exactly_pasted(mask, box, size, threshold=0.5):
    """A mask [m, m] of probabilities in its box, read at the centre of each pixel -> bool [height, width]."""
    cells, whole = len(mask), np.zeros(size, bool)
    sides = np.maximum([float(box[3]) - float(box[1]), float(box[2]) - float(box[0])], 1e-3)
    padded = np.pad(mask.astype(float), 1)
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = (np.array([y + 0.5 - float(box[1]), x + 0.5 - float(box[0])]) / sides * cells - 0.5) + 1
            if 0 < row < cells + 1 and 0 < column < cells + 1:
                whole[y, x] = bilinear(padded[..., None], row, column)[0] > threshold
    return whole


def pasted(mask, box, size, threshold=0.5):
    """A mask [m, m] of probabilities in its box, pixel by pixel in float32 -> bool [height, width]."""
    f, cells = np.float32, len(mask) + 2
    padded, whole = np.pad(mask, 1), np.zeros(size, bool)
    corners = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        half, middle = (high - low) * f(0.5) * f(cells / len(mask)), (high + low) * f(0.5)
        corners.append((int(middle - half), int(middle + half)))
    (x1, x2), (y1, y2) = corners
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)

    def between(pixel, length):
        position = max(f(cells / length) * (f(pixel) + f(0.5)) - f(0.5), f(0.0))
        low = min(int(position), cells - 1)
        return low, min(low + 1, cells - 1), position - f(low)

    for y in range(max(y1, 0), min(y1 + height, size[0])):
        top, bottom, dy = between(y - y1, height)
        for x in range(max(x1, 0), min(x1 + width, size[1])):
            left, right, dx = between(x - x1, width)
            above, below = ((1 - dx) * padded[row, left] + dx * padded[row, right] for row in (top, bottom))
            whole[y, x] = (1 - dy) * above + dy * below > threshold
    return whole
