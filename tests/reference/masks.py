"""Masks the slow way: what Mask R-CNN learns of a region."""

import math

import numpy as np

from tests.reference.roi import bilinear


def mask_target(mask, region, size):
    """Whole mask [h, w], region x1 y1 x2 y2 -> [size, size] in 0 … 1: the mean of ⌈side / size⌉² samples of each bin."""
    x1, y1, x2, y2 = (float(value) for value in region)
    height, width = max(y2 - y1, 1.0), max(x2 - x1, 1.0)
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    target = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            ys = [y1 + (i + (k + 0.5) / rows) * height / size for k in range(rows)]
            xs = [x1 + (j + (k + 0.5) / columns) * width / size for k in range(columns)]
            target[i, j] = np.mean([bilinear(mask[..., None].astype(float), y, x)[0] for y in ys for x in xs])
    return target
