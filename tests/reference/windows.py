"""Slow, obvious windows and tiles: one pixel at a time, in Python floats. Pixel i covers [i, i + 1) of its axis."""

import math

import numpy as np

IGNORE = 255


def reflected(place, length):
    """Where a place is mirrored to within [0, length): it turns back at each end, and does not repeat the edge."""
    if length == 1:
        return 0
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def bilinear(image, x, y):
    """The colour at a point, from the four pixels whose centres are around it; beyond the image its mirror image."""
    height, width = image.shape[:2]
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    fx, fy = x - 0.5 - left, y - 0.5 - top
    result = 0.0
    for row, weight_y in ((top, 1 - fy), (top + 1, fy)):
        for column, weight_x in ((left, 1 - fx), (left + 1, fx)):
            result = result + weight_x * weight_y * image[reflected(row, height), reflected(column, width)].astype(float)
    return result


def nearest(maps, x, y):
    """The class at a point, IGNORE outside."""
    row, column = math.floor(y), math.floor(x)
    inside = 0 <= row < maps.shape[0] and 0 <= column < maps.shape[1]
    return maps[row, column] if inside else IGNORE


def keys(distance):
    """Keys' cubic kernel with a = −1/2 (1981, equation 15)."""
    s = abs(distance)
    if s < 1:
        return 1.5 * s**3 - 2.5 * s**2 + 1
    return -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2 if s < 2 else 0.0


def displacement(bend, x, y, size):
    """(dx, dy) at a point of the input, by cubic convolution of the grid `bend`; its rim repeats beyond the ends."""
    count = len(bend)
    column, row = x / size[1] * (count - 1), y / size[0] * (count - 1)
    result = np.zeros(bend.shape[2:])
    for j in range(-1, count + 1):
        for i in range(-1, count + 1):
            knot = bend[min(max(j, 0), count - 1), min(max(i, 0), count - 1)]
            result += keys(row - j) * keys(column - i) * knot
    return result


def origin(window, x, y):
    """Which point of the original is shown at a point of the input."""
    if window.bend is not None:
        dx, dy = displacement(window.bend, x, y, window.size)
        x, y = x + dx, y + dy
    return np.linalg.solve(window.transform[:, :2], np.array([x, y]) - window.transform[:, 2])


def cut(window, image, maps):
    """(float image [h, w, 3], labels uint8 [h, w], whether each pixel is clear of a tie bool [h, w])."""
    height, width = window.size
    pixels, labels, clear = (
        np.zeros((height, width, 3)),
        np.zeros((height, width), np.uint8),
        np.zeros((height, width), bool),
    )
    for row in range(height):
        for column in range(width):
            x, y = origin(window, column + 0.5, row + 0.5)
            pixels[row, column], labels[row, column] = bilinear(image, x, y), nearest(maps, x, y)
            clear[row, column] = min(abs(x - round(x)), abs(y - round(y))) > 1e-3
    return pixels, labels, clear


def pasted(labels, transform, core, size):
    """uint8 [H, W] of `size`: the class that each original pixel's centre has in the core, IGNORE where it is not there."""
    canvas = np.full(size, IGNORE, np.uint8)
    x1, y1, x2, y2 = core
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = np.asarray(transform, float) @ [column + 0.5, row + 0.5, 1.0]
            if x1 <= x <= x2 and y1 <= y <= y2:
                canvas[row, column] = labels[min(math.floor(y), y2 - 1), min(math.floor(x), x2 - 1)]
    return canvas
