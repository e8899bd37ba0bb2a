"""Accuracy of one class an image."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from cnnvision.evaluation.contributions import Contributions
from cnnvision.types import ClassPrediction, Example


def image_label(example: Example) -> int | None:
    """The class of an image: its own label, else that of its largest object, else None."""
    if example.label is not None:
        return example.label
    largest = example.objects.largest() if example.objects is not None else None
    return None if largest is None else int(example.objects.labels[largest])


def confusion_of(pairs: Iterable[tuple[int, int]], classes: int) -> Int64[np.ndarray, "{classes} {classes}"]:
    """Counts of images by (true class, predicted class): row the true one, column the predicted one."""
    counts = np.zeros((classes, classes), np.int64)
    for pair in pairs:
        counts[pair] += 1
    return counts


class ClassificationEvaluator:
    """`accuracy`, `accuracy_top5` (where there are more than five classes) and `accuracy/CLASS`.

    Attributes:
        compared: metrics of a comparison.
        rows: of each image that counts (id, true class, predicted class, whether the true one is among the first five).
        unlabelled: number of images without a class, which count nowhere.
    """

    compared = ("accuracy",)

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.rows: list[tuple[str, int, int, bool]] = []
        self.unlabelled = 0

    def update(self, examples: Sequence[Example], predictions: ClassPrediction) -> None:
        """Adds images; `predictions.scores` is float [len(examples), k]."""
        for example, scores in zip(examples, predictions.scores, strict=True):
            label = image_label(example)
            if label is None:
                self.unlabelled += 1
                continue
            ranked = np.argsort(-scores, kind="stable")
            self.rows.append((example.id, label, int(ranked[0]), bool(label in ranked[:5])))

    @property
    def confusion(self) -> np.ndarray:
        """int64 [k, k] images, row the true class, column the predicted one."""
        return confusion_of(((label, predicted) for _, label, predicted, _ in self.rows), len(self.classes))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no image counts."""
        return {**self.contributions().values(), "images": float(len(self.rows))}

    def contributions(self) -> Contributions:
        """Of each image whether it is right."""
        ids, labels, predicted, first_five = zip(*self.rows, strict=True) if self.rows else ((), (), (), ())
        labels, right = np.array(labels, int), np.array(labels, int) == np.array(predicted, int)
        means = {"accuracy": right.astype(np.float64)}
        if len(self.classes) > 5:
            means["accuracy_top5"] = np.array(first_five, np.float64)
        for index, name in enumerate(self.classes):
            means[f"accuracy/{name}"] = np.where(labels == index, right, np.nan)
        return Contributions(ids, means)
