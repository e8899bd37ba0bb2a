"""U-Net's weights of borders, slowly: for each pixel the distance to every pixel of every cell."""

import math

import numpy as np


def weights(cells, w0, sigma):
    """1 + w0 · exp(−(d1 + d2)² / 2σ²) on pixels of no cell, 1 inside cells and where there are fewer than two."""
    result = np.ones(cells.shape)
    places = [np.argwhere(cells == name) for name in np.unique(cells[cells > 0])]
    for row, column in np.argwhere(cells == 0):
        nearest = sorted(min(math.dist((row, column), place) for place in cell) for cell in places)
        if len(nearest) >= 2:
            result[row, column] += w0 * math.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * sigma**2))
    return result


def components(semantic, background, ignore=255):
    """int [h, w]: pieces of one class that hang together by edges of pixels, filled one after another, 0 for none."""
    result, count = np.zeros(semantic.shape, int), 0
    for start in map(tuple, np.argwhere((semantic != background) & (semantic != ignore))):
        if result[start]:
            continue
        count += 1
        front = [start]
        while front:
            row, column = front.pop()
            if not (0 <= row < semantic.shape[0] and 0 <= column < semantic.shape[1]) or result[row, column]:
                continue
            if semantic[row, column] == semantic[start]:
                result[row, column] = count
                front += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return result
