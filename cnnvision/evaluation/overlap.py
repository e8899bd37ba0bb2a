"""IoU of detections and objects: of their boxes, their masks, or what is near the contours of their masks.

Masks are in pycocotools' coding, a dict of "size" and "counts" (run lengths as text). Its compiled code gives the IoU of
boxes and masks: of a crowd the share of the detection that lies in it; 0 where a mask is empty, with another empty one, too.

The boundary of a mask: Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", as their
published code has it: pixels of the mask whose square of 2 d + 1 pixels leaves the mask or the image, where d is 2 % of the
image's diagonal, rounded, 1 at least. Their average precision is that of the smaller of both IoU; crowds keep the mask's.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from pycocotools import mask as coding

from cnnvision.evaluation.pasting import part_of_runs
from cnnvision.ops.run_lengths import runs_of_text
from cnnvision.types import Objects

LEAST = 0.5
"""The least IoU of COCO's thresholds; `boundary_overlaps` finds no boundaries where the masks' IoU is below."""
WIDTH = 0.02
"""Of a boundary, in diagonals of the image."""

Code = dict[str, Any]
Codes = Sequence[Code] | np.ndarray
"""Codes; those of many images in an array of objects [n], so that they are chosen and sorted as rows are."""


def code_of_runs(runs: Int[np.ndarray, "n"], size: tuple[int, int]) -> Code:
    """A mask in pycocotools' coding. Args: runs: lengths, down the columns, of zeros first; size: (height, width)."""
    return coding.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)


def code_of_plane(plane: Bool[np.ndarray, "H W"]) -> Code:
    """A mask in pycocotools' coding."""
    return coding.encode(np.asfortranarray(plane, np.uint8))


def sides(boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """x1 y1 x2 y2 -> x y width height, as COCO has boxes."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)


def box_overlaps(found: Float64[np.ndarray, "d 4"], objects: Float64[np.ndarray, "n 4"], crowd: Bool[np.ndarray, "n"]):
    """IoU, float64 [d, n], of boxes x y width height; neither is empty."""
    return coding.iou(found, objects, crowd.astype(np.uint8))


def mask_overlaps(found: Codes, objects: Codes, crowd: Bool[np.ndarray, "n"]) -> np.ndarray:
    """IoU, float64 [d, n], of masks; neither is empty."""
    return coding.iou(list(found), list(objects), crowd.astype(np.uint8))


def boundary_overlaps(found: Codes, objects: Codes, crowd: Bool[np.ndarray, "n"]) -> np.ndarray:
    """The smaller of the IoU of masks and of their boundaries, float64 [d, n]; of crowds, and below `LEAST`, the masks'."""
    iou = mask_overlaps(found, objects, crowd)
    pairs = np.argwhere((iou >= LEAST) & ~crowd)
    mine = {i: boundary(found[i]) for i in set(pairs[:, 0].tolist())}
    theirs = {j: boundary(objects[j]) for j in set(pairs[:, 1].tolist())}
    for i, j in pairs.tolist():
        iou[i, j] = min(iou[i, j], _iou(*mine[i], *theirs[j]))
    return iou


def boundary(code: Code) -> tuple[np.ndarray, int, int]:
    """The boundary of a mask that is not empty: uint8 [h, w] of the pixels around the mask; its top and its left."""
    height, width = code["size"]
    reach = max(round(WIDTH * math.sqrt(height**2 + width**2)), 1)
    (rows, columns), mask = part_of_runs(runs_of_text(code["counts"].decode()), (height, width))
    mask, top, left = mask.astype(np.uint8), rows.start, columns.start
    if min(mask.shape) <= 2 * reach:
        return mask, top, left  # no pixel lies deep enough
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # Beyond its own box the mask has no pixel, and the image's rim counts as contour: zeros either way.
    return mask - cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), top, left


def _iou(one: np.ndarray, top: int, left: int, other: np.ndarray, other_top: int, other_left: int) -> float:
    """IoU of two boundaries, each in the box where it lies."""
    first = np.maximum([top, left], [other_top, other_left])
    last = np.minimum(np.add([top, left], one.shape), np.add([other_top, other_left], other.shape))
    if (last <= first).any():
        return 0.0
    cut = lambda mask, y, x: mask[first[0] - y : last[0] - y, first[1] - x : last[1] - x]
    both = np.count_nonzero(cut(one, top, left) & cut(other, other_top, other_left))
    return both / (np.count_nonzero(one) + np.count_nonzero(other) - both)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What detections and objects are compared by.

    Attributes:
        of_objects: the shapes of `Objects`.
        of_found: a detection's shapes as `overlaps` takes them.
        areas: of shapes, float64, square pixels.
        overlaps: (shapes found, shapes of objects, bool [n] which of these are crowds) -> IoU, float64 [d, n].
    """

    of_objects: Callable[[Objects], Any]
    of_found: Callable[[Any], Any]
    areas: Callable[[Any], np.ndarray]
    overlaps: Callable[[Any, Any, np.ndarray], np.ndarray]


def _box_areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes.reshape(-1, 4)[:, 2:], axis=1)  # of no images, not even an array with four columns


_of_masks = (lambda objects: objects.masks, lambda codes: codes, lambda codes: np.array([*map(coding.area, codes)], float))
KINDS = {
    "bbox": Kind(lambda objects: sides(objects.boxes), sides, _box_areas, box_overlaps),
    "segm": Kind(*_of_masks, mask_overlaps),
    "boundary": Kind(*_of_masks, boundary_overlaps),
}
"""Boxes are float [n, 4] x1 y1 x2 y2, masks `Code`s in an array of objects [n]."""
