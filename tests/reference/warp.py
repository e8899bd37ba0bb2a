"""A box cut out of an image with context and brought to a fixed size, pixel by pixel."""

import math

import numpy as np


def warp(image, box, size, context, fill):
    """float64 [size, size, 3]: inner pixels cover the box, `context` pixels around it what lies there; `fill` outside."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(v) for v in box)
    inner = size - 2 * context
    result = np.zeros((size, size, image.shape[2]))
    for row in range(size):
        for column in range(size):
            # The middle of this pixel, in pixels of the image.
            y = y1 + (row + 0.5 - context) * (y2 - y1) / inner
            x = x1 + (column + 0.5 - context) * (x2 - x1) / inner
            if not (0 <= y < height and 0 <= x < width):
                result[row, column] = fill
                continue
            low_y, low_x = math.floor(y - 0.5), math.floor(x - 0.5)
            value = np.zeros(image.shape[2])
            for j, of_y in ((low_y, 1 - (y - 0.5 - low_y)), (low_y + 1, y - 0.5 - low_y)):
                for i, of_x in ((low_x, 1 - (x - 0.5 - low_x)), (low_x + 1, x - 0.5 - low_x)):
                    value += of_y * of_x * image[min(max(j, 0), height - 1), min(max(i, 0), width - 1)]
            result[row, column] = value
    return result
