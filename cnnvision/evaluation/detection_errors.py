"""Kinds of errors of detections, for pictures and reports: NumPy.

They follow Hoiem et al. 2012, "Diagnosing error in object detectors", section 3: a detection is right, or badly placed,
or of another class, or background; a second one of the same object is a duplicate. An object that no detection found is
missed.
"""

import dataclasses
from typing import Any

import numpy as np

from cnnvision.ops.geometry import covered, overlaps
from cnnvision.types import DetectionPrediction, ObjectTarget

KINDS = ("right", "duplicate", "wrong class", "badly placed", "background", "ignored")
RIGHT_FROM, NEAR_FROM = 0.5, 0.1
"""Least IoU with an object of a right detection, and of a badly placed one."""


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """Attributes: kinds: of each detection, of `KINDS`; missed: bool [n], of each object."""

    kinds: list[str]
    missed: np.ndarray

    def counts(self) -> dict[str, int]:
        """Kind -> how many, in the order of `KINDS`, then "missed"; only what there is. Ignored ones are left out."""
        found = {kind: self.kinds.count(kind) for kind in KINDS if kind != "ignored"} | {"missed": int(self.missed.sum())}
        return {kind: count for kind, count in found.items() if count}


def judge(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    objects: np.ndarray,
    object_labels: np.ndarray,
    crowd: np.ndarray,
) -> Verdicts:
    """Judges one image's detections, the best first; each object is found once.

    Args:
        boxes, labels, scores: [d, 4] x1 y1 x2 y2, [d], [d].
        objects, object_labels, crowd: [n, 4], [n], bool [n]. Crowds are neither found nor missed; a detection that fits one
            of its class, or lies by half of its area in it, and fits no other object, is ignored.
    """
    kinds, found = ["background"] * len(boxes), np.zeros(len(objects), bool)
    pairs = np.asarray(boxes).reshape(-1, 1, 4), np.asarray(objects).reshape(1, -1, 4)
    iou, shares = overlaps(*pairs), covered(*pairs)  # the share is COCO's measure for crowds
    single = ~np.asarray(crowd, bool)
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        same = object_labels == labels[i]
        fits = single & (iou[i] >= RIGHT_FROM)
        free = fits & same & ~found
        if free.any():
            kinds[i] = "right"
            found[np.argmax(np.where(free, iou[i], -1.0))] = True
        elif (fits & same).any():
            kinds[i] = "duplicate"
        elif (~single & same & ((iou[i] >= RIGHT_FROM) | (shares[i] >= RIGHT_FROM))).any():
            kinds[i] = "ignored"
        elif fits.any():
            kinds[i] = "wrong class"
        elif (single & same & (iou[i] >= NEAR_FROM)).any():
            kinds[i] = "badly placed"
    return Verdicts(kinds, single & ~found)


def verdicts_of(prediction: DetectionPrediction, target: ObjectTarget) -> Verdicts:
    """Judges one image's valid detections against its valid objects."""
    found, real = prediction.valid, target.valid
    return judge(
        *(rows[found] for rows in (prediction.boxes, prediction.labels, prediction.scores)),
        *(rows[real] for rows in (target.boxes, target.labels, target.crowd)),
    )


def confident(predictions: Any, threshold: float) -> Any:
    """The same predictions; detections with a score below `threshold` are no longer valid."""
    if not isinstance(predictions, DetectionPrediction):
        return predictions
    return predictions.replace(valid=predictions.valid & (predictions.scores >= threshold))
