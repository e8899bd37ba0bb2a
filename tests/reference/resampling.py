"""Resampling one pixel at a time, in continuous coordinates: pixel i covers [i, i+1)."""

import math

import numpy as np


def bilinear(image, x, y):
    """The image [h, w, c] at the point (x, y), between the centres of its pixels; beyond them its edge is repeated."""
    height, width = image.shape[:2]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    i, j = min(int(y), height - 2) if height > 1 else 0, min(int(x), width - 2) if width > 1 else 0
    i2, j2 = min(i + 1, height - 1), min(j + 1, width - 1)
    top = (1 - (x - j)) * image[i, j].astype(float) + (x - j) * image[i, j2]
    bottom = (1 - (x - j)) * image[i2, j].astype(float) + (x - j) * image[i2, j2]
    return (1 - (y - i)) * top + (y - i) * bottom


def resize(image, size):
    """Mean of 2^k bilinear samples along each axis of every output pixel, 2^k the power of two nearest to the shrinking."""
    (height, width), (rows, columns) = size, image.shape[:2]
    down, across = (2 ** max(0, round(math.log2(old / new))) for old, new in ((rows, height), (columns, width)))
    result = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            samples = [
                bilinear(image, (j + (b + 0.5) / across) * columns / width, (i + (a + 0.5) / down) * rows / height)
                for a in range(down)
                for b in range(across)
            ]
            result[i, j] = np.mean(samples, axis=0)
    return result


def area(image, size):
    """The mean over the original area beneath every output pixel."""
    (height, width), (rows, columns) = size, image.shape[:2]
    result = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y = _overlaps(i * rows / height, (i + 1) * rows / height, rows)
            x = _overlaps(j * columns / width, (j + 1) * columns / width, columns)
            result[i, j] = np.einsum("y,x,yxc->c", y, x, image) / (y.sum() * x.sum())
    return result


def _overlaps(start, stop, count):
    return np.array([max(0.0, min(stop, k + 1) - max(start, k)) for k in range(count)])


def nearest(maps, transform, size, fill):
    """Each pixel of the result takes the id beneath its centre, through the inverse of an affine map; `fill` outside."""
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    result = np.full(size, fill, maps.dtype)
    certain = np.zeros(size, bool)
    for i in range(size[0]):
        for j in range(size[1]):
            x, y, _ = inverse @ [j + 0.5, i + 0.5, 1.0]
            certain[i, j] = min(abs(x - round(x)), abs(y - round(y))) > 0.02
            if 0 <= x < maps.shape[1] and 0 <= y < maps.shape[0]:
                result[i, j] = maps[int(y), int(x)]
    return result, certain
