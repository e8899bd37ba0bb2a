"""Class and box of one object an image."""

from collections.abc import Sequence

import numpy as np

from cnnvision.ops.geometry import overlaps
from cnnvision.types import Example, LocalizationPrediction


class LocalizationEvaluator:
    """Against the largest object of each image: `accuracy`, `mean_box_iou`, `localization_accuracy`, the last also by class.

    `localization_accuracy` counts an image as right where the class is right and the IoU is at least 0.5 (the ILSVRC
    localization rule, for one guess). Images without an object count nowhere (`skipped` says how many).
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.rows: list[tuple[int, int, float]] = []
        self.skipped = 0

    def update(self, examples: Sequence[Example], predictions: LocalizationPrediction) -> None:
        """Adds images; `predictions.boxes` is float [len(examples), 4] x1 y1 x2 y2, original pixels."""
        for example, scores, box in zip(examples, predictions.scores, predictions.boxes, strict=True):
            largest = example.objects.largest() if example.objects is not None else None
            if largest is None:
                self.skipped += 1
                continue
            overlap = float(overlaps(box, example.objects.boxes[largest]))
            self.rows.append((int(example.objects.labels[largest]), int(np.argmax(scores)), overlap))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no image counts."""
        rows = np.array(self.rows, np.float64).reshape(-1, 3)
        mean = lambda values: float(values.mean()) if len(values) else float("nan")
        right = rows[:, 0] == rows[:, 1]
        located = right & (rows[:, 2] >= 0.5)
        metrics = {
            "accuracy": mean(right),
            "mean_box_iou": mean(rows[:, 2]),
            "localization_accuracy": mean(located),
            "images": float(len(rows)),
        }
        for index, name in enumerate(self.classes):
            metrics[f"localization_accuracy/{name}"] = mean(located[rows[:, 0] == index])
        return metrics
