"""Average precision as PASCAL VOC has it, on annotations in original pixels.

Everingham et al. 2010, "The PASCAL visual object classes challenge", section 4.2, and its development kit: a detection is
right if its IoU with the object that it overlaps most is at least 0.5 and no better detection has that object; a difficult
object is neither right nor wrong. Precision is made monotone from the right; then its mean at the recalls 0, 0.1 … 1 is VOC
2007's figure, the area below it that of 2010 and later.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cnnvision.ops.geometry import overlaps

OVERLAP = 0.5


@dataclasses.dataclass(frozen=True)
class Truth:
    """The objects of one class in one image. Attributes: boxes: float [n, 4] x1 y1 x2 y2; difficult: bool [n]."""

    boxes: np.ndarray
    difficult: np.ndarray


def precision_recall(
    truths: Sequence[Truth], images: np.ndarray, boxes: np.ndarray, scores: np.ndarray, overlap: float = OVERLAP
) -> tuple[np.ndarray, np.ndarray]:
    """Of one class: precision and recall after each detection, the best first.

    Args:
        truths: of each image.
        images: int [d], which image a detection lies in.
        boxes: float [d, 4] x1 y1 x2 y2.
        scores: float [d]; equal ones count in the order given.
        overlap: IoU from which on a detection is right.

    Returns:
        precision and recall, float64, one for each detection that is not of a difficult object; one NaN for both where
        there is no object to find.
    """
    count = sum(int((~truth.difficult).sum()) for truth in truths)
    if not count:
        return np.full(1, np.nan), np.full(1, np.nan)
    ranked = np.argsort(-scores, kind="stable")
    images, boxes = images[ranked], boxes[ranked]
    # Objects of all images are numbered through; −1 for a detection that overlaps none enough.
    numbers = np.cumsum([0, *(len(truth.boxes) for truth in truths)])
    difficult = np.concatenate([truth.difficult for truth in truths]).astype(bool)
    hit = np.full(len(boxes), -1)
    by_image = np.argsort(images, kind="stable")
    for mine in np.split(by_image, np.flatnonzero(np.diff(images[by_image])) + 1):
        truth = truths[images[mine[0]]] if len(mine) else None
        if truth is None or not len(truth.boxes):
            continue
        found = overlaps(boxes[mine][:, None], truth.boxes[None])
        hit[mine] = np.where(found.max(axis=1) >= overlap, numbers[images[mine[0]]] + found.argmax(axis=1), -1)
    of_object = np.flatnonzero(hit >= 0)
    counted = np.ones(len(hit), bool)
    counted[of_object] = ~difficult[hit[of_object]]
    right = np.zeros(len(hit), bool)
    right[of_object[np.unique(hit[of_object], return_index=True)[1]]] = True  # the best of each object's
    hits = np.cumsum(right[counted], dtype=np.float64)
    return hits / np.arange(1, len(hits) + 1), hits / count


def average_precision(precision: np.ndarray, recall: np.ndarray, points: int = 0) -> float:
    """The mean of the monotone precision at `points` recalls from 0 to 1 (11: VOC 2007), or for 0 the area below it."""
    if np.isnan(recall).any():
        return float("nan")
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points:
        first = np.searchsorted(recall, np.linspace(0, 1, points) - 1e-12)
        return float(np.mean(np.append(envelope, 0.0)[first]))
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
