"""RoI max pooling and RoIAlign, one bin at a time, as their published code has them (Fast R-CNN's; torchvision's)."""

import math

import numpy as np

ONE = np.float32(1)


def half_away(x):
    """C's round()."""
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def roi_pool(features, box, stride, size):
    """features [h, w, c] -> ([size, size, c], the flat place of each maximum or −1). float32 where the C code is."""
    height, width, channels = features.shape
    scale = ONE / np.float32(stride)
    x1, y1, x2, y2 = (half_away(float(np.float32(side) * scale)) for side in box)
    bin_height = np.float32(max(y2 - y1 + 1, 1)) / np.float32(size)
    bin_width = np.float32(max(x2 - x1 + 1, 1)) / np.float32(size)
    out = np.zeros((size, size, channels), np.float32)
    place = np.full((size, size, channels), -1)
    for i in range(size):
        for j in range(size):
            rows = range(max(math.floor(i * bin_height) + y1, 0), min(math.ceil((i + 1) * bin_height) + y1, height))
            columns = range(max(math.floor(j * bin_width) + x1, 0), min(math.ceil((j + 1) * bin_width) + x1, width))
            best = np.full(channels, -np.inf)
            for y in rows:
                for x in columns:
                    better = features[y, x] > best
                    best = np.where(better, features[y, x], best)
                    place[i, j] = np.where(better, y * width + x, place[i, j])
            if rows and columns:
                out[i, j] = best
    return out, place


def bilinear(features, y, x):
    """One sample; beyond one pixel outside the map it is 0."""
    height, width, _ = features.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(features.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    y, x = (y if top < height - 1 else top), (x if left < width - 1 else left)
    dy, dx = y - top, x - left
    above = (1 - dx) * features[top, left] + dx * features[top, right]
    below = (1 - dx) * features[bottom, left] + dx * features[bottom, right]
    return (1 - dy) * above + dy * below


def roi_align(features, box, stride, size, ratio, aligned):
    """features [h, w, c] -> ([size, size, c], bool [size, size]: bins with a sample within rounding of where samples end).

    ratio: samples along each side of a bin, None for ⌈side of the box / size⌉.
    """
    features = features.astype(np.float64)
    offset = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (float(side) / stride - offset for side in box)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    rows, columns = (ratio or math.ceil(np.float32(side) / np.float32(size)) for side in (height, width))
    out, unsure = np.zeros((size, size, features.shape[2])), np.zeros((size, size), bool)
    for i in range(size):
        for j in range(size):
            for a in range(rows):
                for b in range(columns):
                    y = y1 + i * height / size + (a + 0.5) * height / size / rows
                    x = x1 + j * width / size + (b + 0.5) * width / size / columns
                    out[i, j] += bilinear(features, y, x)
                    ends = (y + 1, y - features.shape[0], x + 1, x - features.shape[1])
                    unsure[i, j] |= min(abs(end) for end in ends) < 1e-4
    return out / max(rows * columns, 1), unsure
