"""Caption text of targets and predictions, by their type."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnvision.evaluation.detection_errors import verdicts_of
from cnnvision.evaluation.worst import held_against
from cnnvision.pictures import drawing
from cnnvision.pictures.overlays import class_of_map, object_colour, present
from cnnvision.types import (
    ClassTarget,
    DetectionPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)

Parts = list[tuple[str, drawing.Colour | None]]
"""Words, each with the colour of a swatch before it, or None."""


def of_target(target: Any, classes: Sequence[str]) -> Parts:
    """The first line of text beneath an input."""
    if isinstance(target, ClassTarget):
        return [name_of(int(target.labels), classes)] if target.valid else [("no class", None)]
    if isinstance(target, ObjectTarget):
        found = np.unique(target.labels[target.valid])
        return [name_of(int(label), classes) for label in found] or [("no object", None)]
    if isinstance(target, SemanticTarget):
        return [class_of_map(label, classes) for label in present(target.labels)]
    return []


def of_prediction(prediction: Any, classes: Sequence[str]) -> Parts:
    """The three best classes with their scores, how many objects of each were detected, or the share of each in a map."""
    if isinstance(prediction, SegmentationPrediction):
        shares = np.bincount(prediction.labels.ravel(), minlength=256)[: len(classes)] / max(prediction.labels.size, 1)
        largest = [int(k) for k in np.argsort(-shares, kind="stable") if shares[k] > 0][:6]
        return [(f"{name} {shares[k]:.0%}", ink) for k in largest for name, ink in [class_of_map(k, classes)]]
    if isinstance(prediction, DetectionPrediction):
        found = np.bincount(prediction.labels[prediction.valid], minlength=len(classes))
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


def _judged(prediction: DetectionPrediction, target: Any) -> tuple[Parts, bool | None]:
    """How many detections are right, and what is wrong with the others."""
    if not isinstance(target, ObjectTarget):
        return [(f"{np.count_nonzero(prediction.valid)} found", None)], None
    counts = verdicts_of(prediction, target).counts()
    parts: Parts = [(f"{count} {kind}", None) for kind, count in counts.items()]
    return parts or [("nothing", None)], not counts.keys() - {"right"}


def framed(prediction: DetectionPrediction, classes: Sequence[str]) -> list[tuple[np.ndarray, str, drawing.Colour]]:
    """(box, class and score, colour) of each valid detection, the best first."""
    rows = [(int(k), int(prediction.labels[k])) for k in np.flatnonzero(prediction.valid)]
    words = lambda k, label: f"{classes[label]} {prediction.scores[k]:.2f}"
    return [(prediction.boxes[k], words(k, label), object_colour(k, label, classes)) for k, label in rows]


def name_of(label: int, classes: Sequence[str]) -> tuple[str, drawing.Colour]:
    """A class's name and its colour."""
    return classes[label], drawing.colour(label)
