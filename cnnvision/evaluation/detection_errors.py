"""Kinds of errors of detections, for pictures and reports: NumPy.

They follow Hoiem et al. 2012, "Diagnosing error in object detectors", section 3: a detection is right, or badly placed
(IoU of .1 to .5 with an object of its class), or of another class (IoU of .1 or more with an object of that), or background;
a second one of the same object is a duplicate. An object that no detection found is missed. Other than there, a detection
that lies on an object of another class (IoU of .5 or more) is of a wrong class also where one of its own is near.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnvision.ops.geometry import covered, overlaps
from cnnvision.types import DetectionPrediction, ObjectTarget

KINDS = ("right", "duplicate", "wrong class", "badly placed", "background", "ignored")
RIGHT_FROM, NEAR_FROM = 0.5, 0.1
"""Least IoU with an object of a right detection, and of one that is badly placed or of another class."""


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
        elif (single & (iou[i] >= NEAR_FROM)).any():
            kinds[i] = "wrong class"
    return Verdicts(kinds, single & ~found)


def verdicts_of(prediction: DetectionPrediction, target: ObjectTarget) -> Verdicts:
    """Judges one image's valid detections against its valid objects."""
    found, real = prediction.valid, target.valid
    return judge(
        *(rows[found] for rows in (prediction.boxes, prediction.labels, prediction.scores)),
        *(rows[real] for rows in (target.boxes, target.labels, target.crowd)),
    )


def shares(images: Sequence[tuple[Any, np.ndarray, np.ndarray, np.ndarray]], classes: int) -> dict[str, float]:
    """How the best detections of a split are divided among the kinds, as in figure 4 of Redmon et al. 2016 ("You only look
    once"): of each class as many detections as it has objects, those with the highest scores.

    Args:
        images: of each (objects, boxes, labels, scores), as `DetectionEvaluator.images` has them.
        classes: how many.

    Returns:
        kind -> share of those detections that are not ignored; "missed" -> share of the objects that none of them found.
        NaN where there is none.
    """
    of = np.concatenate([np.full(len(labels), i) for i, (_, _, labels, _) in enumerate(images)] or [np.zeros(0, int)])
    labels, scores = (np.concatenate([np.zeros(0), *(image[field] for image in images)]) for field in (2, 3))
    chosen = np.zeros(len(labels), bool)
    for label in range(classes):
        count = sum(int(((objects.labels == label) & ~objects.crowd).sum()) for objects, *_ in images)
        mine = np.flatnonzero(labels == label)
        chosen[mine[np.argsort(-scores[mine], kind="stable")][:count]] = True
    counts, objects_of_all = dict.fromkeys((*KINDS, "missed"), 0), 0
    for i, (objects, *found) in enumerate(images):
        best = chosen[of == i]
        verdicts = judge(*(rows[best] for rows in found), objects.boxes, objects.labels, objects.crowd)
        for kind in verdicts.kinds:
            counts[kind] += 1
        counts["missed"] += int(verdicts.missed.sum())
        objects_of_all += int((~objects.crowd).sum())
    counts.pop("ignored")
    missed, judged = counts.pop("missed"), sum(counts.values())
    share = lambda count, total: count / total if total else float("nan")
    return {kind: share(count, judged) for kind, count in counts.items()} | {"missed": share(missed, objects_of_all)}


def confident(predictions: Any, threshold: float) -> Any:
    """The same predictions; detections with a score below `threshold` are no longer valid."""
    if not isinstance(predictions, DetectionPrediction):
        return predictions
    return predictions.replace(valid=predictions.valid & (predictions.scores >= threshold))
