"""A class for every pixel: IoU over the data set, boundaries and, for two classes, partitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnvision.errors import DataError
from cnnvision.evaluation import segmentation_metrics as metrics_of
from cnnvision.evaluation.contributions import Contributions
from cnnvision.evaluation.segmentation_metrics import SegmentedImage
from cnnvision.types import IGNORE, Example


class SegmentationEvaluator:
    """`mean_iou`, `pixel_accuracy`, `dice`, `boundary_f`, `images`, `iou/CLASS`; `rand_error`, `foreground_rand_score`.

    `mean_iou`, `dice` and `pixel_accuracy` come from the confusion counts of the whole data set (they are no means over
    images), the first two over the classes that occur in truth or prediction. The others are means over the images where
    they are defined. The last two exist with exactly two classes: the background, which parts cells, and the foreground,
    whose connected components are cells. (Of more classes, regions that touch have no background to part them.)

    Pixels that are IGNORE in the truth count nowhere. A prediction of 255 is "no class", which is wrong.

    Args:
        classes: names, in the order of their ids.
        background: id of the class that parts cells.

    Attributes:
        confusion: int64 [k, k] pixels, row the true class, column the predicted one.
        unpredicted: int64 [k] pixels of each true class for which the prediction names no class.
        images: one SegmentedImage for each image that counts, in the order of the updates.
        skipped: number of images without a map, or with one that is IGNORE everywhere; they count nowhere.
        compared: metrics of a comparison.
    """

    compared = ("mean_iou", "boundary_f")

    def __init__(self, classes: Sequence[str], background: int = 0):
        if not 0 < len(classes) <= IGNORE:
            raise ValueError(f"semantic maps have 1 to {IGNORE} classes, got {len(classes)}")
        if background not in range(len(classes)):
            raise ValueError(f"background: {background} is none of the {len(classes)} classes")
        self.classes, self.background = tuple(classes), background
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        self.unpredicted = np.zeros(len(classes), np.int64)
        self.images: list[SegmentedImage] = []
        self.skipped = 0

    def update(self, examples: Sequence[Example], predictions: Any) -> None:
        """Adds images.

        Args:
            examples: with `semantic` uint8 [H, W], ids of `classes` or IGNORE.
            predictions: `labels` holds for each example a uint8 [H, W] in original pixels, ids of `classes` or 255.

        Raises:
            DataError: a true map holds an id that is no class.
            ValueError: a predicted map does, or is not as large as the true one.
        """
        for example, labels in zip(examples, predictions.labels, strict=True):
            if example.semantic is None or (example.semantic == IGNORE).all():
                self.skipped += 1
                continue
            image = self._compare(example, np.asarray(labels))
            self.confusion += image.confusion[:, :-1]
            self.unpredicted += image.confusion[:, -1]
            self.images.append(image)

    def _compare(self, example: Example, labels: np.ndarray) -> SegmentedImage:
        truth, count = example.semantic, len(self.classes)
        if labels.shape != truth.shape or labels.dtype != np.uint8:
            raise ValueError(
                f"{example.id}: the predicted map is {labels.dtype} {labels.shape}, but should be uint8 {truth.shape},"
                " in the original image's pixels"
            )
        try:
            confusion = metrics_of.confusion_counts(truth, labels, count)
        except (DataError, ValueError) as error:
            raise type(error)(f"{example.id}: {error}") from None
        rand = metrics_of.rand_scores(truth, labels, self.background) if count == 2 else ()
        return SegmentedImage(example.id, confusion, metrics_of.boundary_f(truth, labels), *rand)

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1], and the number of images; NaN where nothing counts."""
        return {**self.contributions().values(), "images": float(len(self.images))}

    def contributions(self) -> Contributions:
        """Of each image its confusion counts and the metrics that are means over images."""
        columns = len(self.classes), len(self.classes) + 1
        names = ["boundary_f"] + (["rand_error", "foreground_rand_score"] if len(self.classes) == 2 else [])
        return Contributions(
            ids=tuple(image.id for image in self.images),
            means={name: np.array([getattr(image, name) for image in self.images], np.float64) for name in names},
            classes=self.classes,
            confusion=np.array([image.confusion for image in self.images], np.int64).reshape(-1, *columns),
        )
