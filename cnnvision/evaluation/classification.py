"""Accuracy of one class an image."""

from collections.abc import Sequence

import numpy as np

from cnnvision.types import ClassPrediction, Example


def image_label(example: Example) -> int | None:
    """The class of an image: its own label, else that of its largest object, else None."""
    if example.label is not None:
        return example.label
    largest = example.objects.largest() if example.objects is not None else None
    return None if largest is None else int(example.objects.labels[largest])


class ClassificationEvaluator:
    """`accuracy`, `accuracy_top5` (where there are more than five classes), `accuracy/CLASS` and the confusion counts.

    Attributes:
        confusion: int64 [k, k], row the true class, column the predicted one.
        unlabelled: number of images without a class, which count nowhere.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        self.in_top5 = 0
        self.unlabelled = 0

    def update(self, examples: Sequence[Example], predictions: ClassPrediction) -> None:
        """Adds images; `predictions.scores` is float [len(examples), k]."""
        for example, scores in zip(examples, predictions.scores, strict=True):
            label = image_label(example)
            if label is None:
                self.unlabelled += 1
                continue
            ranked = np.argsort(-scores, kind="stable")
            self.confusion[label, ranked[0]] += 1
            self.in_top5 += bool(label in ranked[:5])

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no image counts."""
        images = self.confusion.sum()
        each = self.confusion.sum(axis=1)
        share = lambda right, of: float(right) / float(of) if of else float("nan")
        metrics = {"accuracy": share(np.trace(self.confusion), images), "images": float(images)}
        if len(self.classes) > 5:
            metrics["accuracy_top5"] = share(self.in_top5, images)
        for index, name in enumerate(self.classes):
            metrics[f"accuracy/{name}"] = share(self.confusion[index, index], each[index])
        return metrics
