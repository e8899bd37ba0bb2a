"""What is said of targets and predictions in the lines beneath pictures, by their type."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cnnvision import drawing
from cnnvision.ops.geometry import overlaps
from cnnvision.overlays import present
from cnnvision.types import (
    ClassPrediction,
    ClassTarget,
    DetectionPrediction,
    LocalizationPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)
from cnnvision.verdicts import Verdicts, judge

Parts = list[tuple[str, drawing.Colour | None]]
"""Words, each with the colour of a swatch before it, or None."""

SHOWN_FROM = 0.5
"""Score from which on a detection is drawn, and counts as an answer."""


def of_target(target: Any, classes: Sequence[str]) -> Parts:
    """The first line of text beneath an input."""
    if isinstance(target, ClassTarget):
        return [name_of(int(target.labels), classes)] if target.valid else [("no class", None)]
    if isinstance(target, ObjectTarget):
        found = np.unique(target.labels[target.valid])
        return [name_of(int(label), classes) for label in found] or [("no object", None)]
    if isinstance(target, SemanticTarget):
        return [name_of(label, classes) for label in present(target.labels)]
    return []


def of_prediction(prediction: Any, classes: Sequence[str]) -> Parts:
    """The three best classes with their scores, or with the shares of the image that they cover."""
    if isinstance(prediction, SegmentationPrediction):
        shares = np.bincount(prediction.labels.ravel(), minlength=256)[: len(classes)] / max(prediction.labels.size, 1)
        largest = [int(k) for k in np.argsort(-shares, kind="stable") if shares[k] > 0][:6]
        return [(f"{classes[k]} {shares[k]:.0%}", drawing.colour(k)) for k in largest]
    if isinstance(prediction, DetectionPrediction):
        found = np.bincount(shown(prediction).labels, minlength=len(classes))
        several = [(f"{found[k]} {classes[k]}", drawing.colour(int(k))) for k in np.flatnonzero(found)]
        return several or [("nothing found", None)]
    best = np.argsort(-prediction.scores, kind="stable")[:3]
    return [(f"{classes[k]} {prediction.scores[k]:.2f}", drawing.colour(int(k))) for k in best]


def comparison(prediction: Any, target: Any, classes: Sequence[str]) -> tuple[Parts, bool | None]:
    """The line of text about a prediction, and whether it is right; None where the target does not tell."""
    if isinstance(prediction, DetectionPrediction):
        return _judged(prediction, target)
    best, right, overlap = held_against(prediction, target)
    parts: Parts = [(f"{classes[best]} {prediction.scores[best]:.2f}", drawing.colour(best))]
    if overlap is None:
        return parts, right
    return [*parts, (f"IoU {overlap:.2f}", None)], right and overlap >= 0.5


def held_against(prediction: ClassPrediction | LocalizationPrediction, target: Any) -> tuple[int, bool | None, float | None]:
    """Of one image the best class, whether that is right (None where the target does not tell), and the IoU of the box with
    the first object's (None where one of them is missing)."""
    best, right, overlap = int(np.argmax(prediction.scores)), None, None
    if isinstance(target, ClassTarget) and target.valid:
        right = best == int(target.labels)
    elif isinstance(target, ObjectTarget) and target.valid.any():
        k = int(np.argmax(target.valid))
        right = best == int(target.labels[k])
        if isinstance(prediction, LocalizationPrediction):
            overlap = float(overlaps(prediction.boxes, target.boxes[k]))
    return best, right, overlap


def _judged(prediction: DetectionPrediction, target: Any) -> tuple[Parts, bool | None]:
    """How many detections are right, and what is wrong with the others."""
    if not isinstance(target, ObjectTarget):
        return [(f"{len(shown(prediction).labels)} found", None)], None
    counts = verdicts_of(prediction, target).counts()
    parts: Parts = [(f"{count} {kind}", None) for kind, count in counts.items()]
    return parts or [("nothing", None)], not counts.keys() - {"right"}


def verdicts_of(prediction: DetectionPrediction, target: ObjectTarget) -> Verdicts:
    """Of one image's detections that are drawn, held against its objects."""
    best, there = shown(prediction), target.valid
    return judge(best.boxes, best.labels, best.scores, target.boxes[there], target.labels[there], target.crowd[there])


def framed(prediction: DetectionPrediction, classes: Sequence[str]) -> list[tuple[np.ndarray, str, drawing.Colour]]:
    """(box, class and score, colour) of what is drawn, the best first."""
    best = shown(prediction)
    rows = zip(best.boxes, best.labels, best.scores, strict=True)
    return [(box, f"{classes[label]} {score:.2f}", drawing.colour(int(label))) for box, label, score in rows]


def shown(prediction: DetectionPrediction) -> DetectionPrediction:
    """One image's detections that are drawn."""
    where = prediction.valid & (prediction.scores >= SHOWN_FROM)
    return jax.tree.map(lambda rows: rows[where], prediction)


def name_of(label: int, classes: Sequence[str]) -> tuple[str, drawing.Colour]:
    """A class's name and its colour."""
    return classes[label], drawing.colour(label)
