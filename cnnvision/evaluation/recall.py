"""How many objects proposals find: the most that a detector which looks at nothing else can."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnnvision.evaluation.coco import coco_evaluation
from cnnvision.types import Objects

COUNTS = (10, 100, 1000, 2000)
"""Proposals of an image that count."""


def proposal_recall(
    images: Sequence[tuple[Objects, np.ndarray]],
    area_ranges: Mapping[str, tuple[float, float]],
    counts: Sequence[int] = COUNTS,
) -> dict[int, dict[str, float]]:
    """The recall of each image's first proposals, by COCO's rules, whatever the classes.

    Args:
        images: of each the objects, and its proposals float [p, 4] x1 y1 x2 y2, original pixels, in their order.
        area_ranges: name -> (least, most), square pixels.
        counts: how many of an image's proposals count, in increasing order.

    Returns:
        count -> "AR" (average recall: the mean over IoU .50 … .95 of the share of objects that are found, each by a
        proposal of its own), "AR/RANGE" of objects in each range of area, "recall50" and "recall75" at one IoU. NaN where
        there is no object.
    """
    one = lambda length: np.zeros(length, np.int32)
    rows = []
    for objects, boxes in images:
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[: counts[-1]]
        one_class = Objects(objects.boxes, one(len(objects.boxes)), objects.crowd, objects.area)
        rows.append((one_class, boxes, one(len(boxes)), -np.arange(len(boxes), dtype=np.float64)))
    recall = coco_evaluation(rows, 1, area_ranges, counts).eval["recall"][:, 0]  # [IoU, range, count]; −1 without objects
    value = lambda found: float(np.mean(found)) if (found > -1).all() else float("nan")
    table = {}
    for i, count in enumerate(counts):
        table[count] = {"AR": value(recall[:, 0, i])}
        table[count] |= {f"AR/{name}": value(recall[:, 1 + j, i]) for j, name in enumerate(area_ranges)}
        table[count] |= {"recall50": value(recall[0, 0, i]), "recall75": value(recall[5, 0, i])}
    return table
