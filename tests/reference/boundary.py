"""Boundaries of masks the slow way: the whole image, eroded pixel by pixel, again and again."""

import numpy as np


def boundary(mask, ratio=0.02):
    """bool [H, W] -> the pixels of it that are gone after as many erosions as `ratio` of the diagonal has pixels."""
    height, width = mask.shape
    eroded = mask
    for _ in range(max(round(ratio * np.sqrt(height**2 + width**2)), 1)):
        padded = np.pad(eroded, 1)  # what is beyond the image is not of the mask
        neighbours = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        eroded = np.all(neighbours, axis=0)
    return mask & ~eroded


def mask_iou(found, mask, crowd):
    """Of two masks bool [H, W]; of a crowd the share of `found` that lies in it; 0 where nothing is in common."""
    both, union = (found & mask).sum(), (found if crowd else found | mask).sum()
    return both / union if both else 0.0


def boundary_iou(found, mask, crowd):
    """The smaller of the IoU of two masks and of their boundaries; of a crowd the masks'."""
    whole = mask_iou(found, mask, crowd)
    return whole if crowd else min(whole, mask_iou(boundary(found), boundary(mask), False))
