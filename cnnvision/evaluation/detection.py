"""Average precision of detections: COCO's and PASCAL VOC's."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnvision.evaluation.coco import COUNTS, Evaluation, Matches, best_threshold, coco_evaluation, matches_of
from cnnvision.evaluation.contributions import Contributions
from cnnvision.evaluation.detection_errors import shares
from cnnvision.evaluation.voc import Truth, average_precision, precision_recall
from cnnvision.types import DetectionPrediction, Example


class DetectionEvaluator:
    """Against all objects of each image, in original pixels. Crowds and difficult objects are neither right nor wrong.

    Metrics: `AP` (mean over IoU .50 … .95), `AP50`, `AP75`, `AP/CLASS`; `APs`, `APm`, `APl` within the data's ranges of
    area; `AR1`, `AR10`, `AR100`; VOC's `AP50/voc07` (11 points) and `AP50/voc10` (area); NaN without objects to find.
    `score_threshold`: the score from which on detections have the best F1 (`coco.best_threshold`): pictures show those.

    Args:
        classes: their names.
        area_ranges: "small", "medium" and "large" -> (least, most), square pixels.
        most: detections of an image that count, where they are more than COCO's 100 (and `AR` has that number in its name).

    Attributes:
        images: of each image (objects, boxes, labels, scores), as they were given, the padding left out.
        ids: of them.
        matches: after `compute()`, of all objects ("AP") and of those of each range of area ("APs", "APm", "APl"), by class.
        compared: metrics of a comparison; the last is the loss's, of detectors that look at proposals.
    """

    compared = ("AP", "AP50", "APs", "APm", "APl", "proposal_recall")

    def __init__(self, classes: Sequence[str], area_ranges: Mapping[str, tuple[float, float]], most: int = COUNTS[-1]):
        self.classes, self.area_ranges = tuple(classes), dict(area_ranges)
        self.counts = (*COUNTS[:-1], max(COUNTS[-1], most))
        self.images: list[tuple[Any, np.ndarray, np.ndarray, np.ndarray]] = []
        self.ids: list[str] = []
        self.matches: dict[str, list[Matches]] = {}

    def update(self, examples: Sequence[Example], predictions: DetectionPrediction) -> None:
        """Adds images; `predictions.boxes` is float [len(examples), d, 4] x1 y1 x2 y2, original pixels."""
        for row, example in enumerate(examples):
            if example.objects is None:
                continue
            found = np.asarray(predictions.valid[row])
            boxes, labels, scores = (
                np.asarray(x[row])[found] for x in (predictions.boxes, predictions.labels, predictions.scores)
            )
            objects = dataclasses.replace(example.objects, masks=None)
            self.ids.append(example.id)
            self.images.append((objects, boxes.astype(np.float64), labels, scores.astype(np.float64)))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no object counts."""
        metrics = {**self._coco(), **self._voc(), "images": float(len(self.images))}
        return metrics | {"score_threshold": best_threshold(self.matches["AP"])}

    def contributions(self) -> Contributions:
        """How the detections of each image match its objects, after `compute()`."""
        return Contributions(tuple(self.ids), classes=self.classes, matches=self.matches)

    def errors(self) -> dict[str, float]:
        """The kinds of the best detections, in shares; see `shares`."""
        return shares(self.images, len(self.classes))

    def _coco(self) -> dict[str, float]:
        evaluation = coco_evaluation(self.images, len(self.classes), self.area_ranges, self.counts)
        self.matches = matches_by_area(evaluation, self.area_ranges)
        return coco_metrics(evaluation, self.classes, self.area_ranges, self.counts)

    def _voc(self) -> dict[str, float]:
        curves = [self.precision_recall(label) for label in range(len(self.classes))]
        found = lambda points: [average_precision(*curve, points) for curve in curves]
        mean = lambda values: float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
        return {"AP50/voc07": mean(found(11)), "AP50/voc10": mean(found(0))}

    def precision_recall(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall of one class at IoU 0.5, after each detection, the best first."""
        truths, images, boxes, scores = [], [], [], []
        for image, (objects, its_boxes, labels, its_scores) in enumerate(self.images):
            mine, found = objects.labels == label, labels == label
            truths.append(Truth(objects.boxes[mine], objects.crowd[mine]))
            images += [image] * int(found.sum())
            boxes.append(its_boxes[found])
            scores.append(its_scores[found])
        join = lambda parts, shape: np.concatenate([np.zeros(shape), *parts])
        return precision_recall(truths, np.array(images, int), join(boxes, (0, 4)), join(scores, 0))


def coco_metrics(
    evaluation: Evaluation, classes: Sequence[str], area_ranges: Mapping[str, Any], counts: Sequence[int] = COUNTS
) -> dict[str, float]:
    """COCO's means of precision and recall by name, as `DetectionEvaluator` lists them; NaN where no object counts."""
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    mean = lambda values: float(values[values > -1].mean()) if (values > -1).any() else float("nan")
    metrics = {"AP": mean(precision[:, :, :, 0, -1])}
    metrics |= {f"AP{percent}": mean(precision[i, :, :, 0, -1]) for percent, i in ((50, 0), (75, 5))}
    metrics |= {f"AP{name[0]}": mean(precision[:, :, :, 1 + i, -1]) for i, name in enumerate(area_ranges)}
    metrics |= {f"AR{count}": mean(recall[:, :, 0, i]) for i, count in enumerate(counts)}
    return metrics | {f"AP/{name}": mean(precision[:, :, k, 0, -1]) for k, name in enumerate(classes)}


def matches_by_area(evaluation: Evaluation, area_ranges: Mapping[str, Any], prefix: str = "") -> dict[str, list[Matches]]:
    """Names of average precisions -> how detections match objects: "AP" of all, "APs" of small ones …, after a prefix."""
    names = ["AP", *(f"AP{name[0]}" for name in area_ranges)]
    return {f"{prefix}{name}": matches_of(evaluation, index) for index, name in enumerate(names)}
