"""Pixels between touching cells weigh more: the weight map of Ronneberger et al. 2015, section 3, equation 2."""

import cv2
import numpy as np

from cnnvision.data.maps.class_ids import instance_table
from cnnvision.types import IGNORE

REACH = 4.0
"""Sum of distances, in sigmas, beyond which the exponential is below 4e-4 and is left at 0."""


def connected_cells(semantic: np.ndarray, background: int) -> np.ndarray:
    """Which cell each pixel belongs to, where nobody says: 4-connected components of one class.

    Args:
        semantic: uint8 [h, w] class ids.
        background: the class that parts cells; it is no cell, nor is IGNORE.

    Returns:
        int32 [h, w], 0 for no cell, then counting from 1 through all classes.
    """
    cells, count = np.zeros(semantic.shape, np.int32), 0
    for label in np.unique(semantic):
        if label not in (background, IGNORE):
            found, parts = cv2.connectedComponents((semantic == label).astype(np.uint8), connectivity=4)
            cells += np.where(parts > 0, parts + count, 0)
            count += found - 1
    return cells


def border_weights(cells: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """1 + w0 · exp(−(d1 + d2)² / 2σ²) on pixels of no cell, 1 inside cells.

    Args:
        cells: int32 [h, w], 0 for no cell, else which one.
        w0, sigma: of the formula; d1 and d2 are the distances to the nearest and the second nearest cell, pixels.

    Returns:
        float32 [h, w]; 1 everywhere where there are fewer than two cells.
    """
    names, boxes, _ = instance_table(cells)
    weights = np.ones(cells.shape, np.float32)
    if len(names) < 2:
        return weights
    reach = int(np.ceil(REACH * sigma))
    far = np.float32(2 * max(cells.shape) + 2)
    first, second = np.full(cells.shape, far), np.full(cells.shape, far)
    for name, (left, top, right, bottom) in zip(names, boxes.astype(int), strict=True):
        # A distance counts only near its cell, so each is computed there alone.
        near = np.s_[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach]
        away = (cells[near] != name).astype(np.uint8)
        distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    between = cells == 0
    # OpenCV's last bits change with the address in memory, and batches must not; squared distances are whole numbers.
    first, second = (np.sqrt(np.rint(distance[between] ** 2)) for distance in (first, second))
    weights[between] += w0 * np.exp(-((first + second) ** 2) / (2.0 * sigma**2))
    return weights
