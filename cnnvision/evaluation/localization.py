"""Class and box of one object an image."""

from collections.abc import Sequence

import numpy as np

from cnnvision.evaluation.classification import confusion_of
from cnnvision.evaluation.contributions import Contributions
from cnnvision.ops.geometry import overlaps
from cnnvision.types import Example, LocalizationPrediction


class LocalizationEvaluator:
    """Against the largest object of each image: `accuracy`, `mean_box_iou`, `localization_accuracy`, the last also by class.

    `localization_accuracy` counts an image as right where the class is right and the IoU is at least 0.5 (the ILSVRC
    localization rule, for one guess). Images without an object count nowhere (`skipped` says how many).

    Attributes:
        compared: metrics of a comparison.
        rows: of each image that counts (id, true class, predicted class, IoU of the box).
    """

    compared = ("localization_accuracy", "accuracy", "mean_box_iou")

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.rows: list[tuple[str, int, int, float]] = []
        self.skipped = 0

    def update(self, examples: Sequence[Example], predictions: LocalizationPrediction) -> None:
        """Adds images; `predictions.boxes` is float [len(examples), 4] x1 y1 x2 y2, original pixels."""
        for example, scores, box in zip(examples, predictions.scores, predictions.boxes, strict=True):
            largest = example.objects.largest() if example.objects is not None else None
            if largest is None:
                self.skipped += 1
                continue
            overlap = float(overlaps(box, example.objects.boxes[largest]))
            self.rows.append((example.id, int(example.objects.labels[largest]), int(np.argmax(scores)), overlap))

    @property
    def confusion(self) -> np.ndarray:
        """int64 [k, k] images, row the true class, column the predicted one."""
        return confusion_of(((label, predicted) for _, label, predicted, _ in self.rows), len(self.classes))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no image counts."""
        return {**self.contributions().values(), "images": float(len(self.rows))}

    def contributions(self) -> Contributions:
        """Of each image whether its class is right, the IoU of its box, and whether both are."""
        values = np.array([row[1:] for row in self.rows], np.float64).reshape(-1, 3)
        labels, overlap = values[:, 0], values[:, 2]
        right = labels == values[:, 1]
        located = (right & (overlap >= 0.5)).astype(np.float64)
        means = {"accuracy": right.astype(np.float64), "mean_box_iou": overlap, "localization_accuracy": located}
        for index, name in enumerate(self.classes):
            means[f"localization_accuracy/{name}"] = np.where(labels == index, located, np.nan)
        return Contributions(tuple(row[0] for row in self.rows), means)
