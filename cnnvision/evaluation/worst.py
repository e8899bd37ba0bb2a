"""The worst predictions of a split, kept while it is evaluated."""

import heapq
from typing import Any

import jax
import numpy as np

from cnnvision.evaluation.detection_errors import confident, verdicts_of
from cnnvision.ops.geometry import overlaps
from cnnvision.types import (
    IGNORE,
    Batch,
    ClassPrediction,
    ClassTarget,
    DetectionPrediction,
    LocalizationPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)


def mistake(prediction: Any, target: Any) -> float:
    """How wrong one image's prediction is, in input pixels; 0 where there is no mistake, or nothing to compare with.

    Of detections: how many valid ones are not right, and how many objects are missed. Of a class: its score where it is
    wrong. Of a class and a box: likewise plus 1, else 1 − IoU. Of a map: the share of its pixels that are wrong.
    """
    if isinstance(prediction, DetectionPrediction) and isinstance(target, ObjectTarget):
        return float(sum(count for kind, count in verdicts_of(prediction, target).counts().items() if kind != "right"))
    if isinstance(prediction, SegmentationPrediction) and isinstance(target, SemanticTarget):
        counted = (target.labels != IGNORE) & (prediction.labels != IGNORE)
        return float((prediction.labels != target.labels)[counted].mean()) if counted.any() else 0.0
    if not isinstance(prediction, ClassPrediction | LocalizationPrediction):
        return 0.0
    best, right, overlap = held_against(prediction, target)
    if right is False:
        return float(prediction.scores[best]) + (overlap is not None)
    return 0.0 if overlap is None else 1.0 - overlap


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


class Worst:
    """Keeps the `count` worst of the examples that are added, no more of them in memory.

    Args:
        count: at most; examples without a mistake are not among them.
        threshold: detections count from this score on. It must be known before the pass: the run's stored one
            (`runs.open.Trained.threshold`), not that of the split which is being evaluated.
    """

    def __init__(self, count: int, threshold: float = 0.5):
        self.count, self.threshold, self._seen = count, threshold, 0
        self._kept: list[tuple[float, int, tuple[Batch, Any]]] = []

    def add(self, batch: Batch, predictions: Any) -> None:
        """Looks at the valid rows of a batch and its predictions: arrays on the host, in input pixels."""
        predictions = confident(predictions, self.threshold)
        for i in np.flatnonzero(batch.valid):
            row = jax.tree.map(lambda x, i=i: np.asarray(x)[i], (predictions, batch.target))
            self._seen += 1
            key = (mistake(*row), -self._seen)  # of equals the earlier one; tiles of an image have one index
            if key[0] > 0 and (len(self._kept) < self.count or key > self._kept[0][:2]):
                kept = jax.tree.map(lambda x, i=i: np.array(x[i : i + 1]), (batch, predictions))
                (heapq.heappush if len(self._kept) < self.count else heapq.heappushpop)(self._kept, (*key, kept))

    def shown(self) -> list[tuple[Batch, Any]]:
        """The worst first, each as a batch of one with its prediction: what `pictures.sheets.write_sheet` takes."""
        return [pair for _, _, pair in sorted(self._kept, key=lambda kept: kept[:2], reverse=True)]
