"""Average precision of detections: COCO's, by its own published code, and PASCAL VOC's."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnnvision.evaluation.voc import Truth, average_precision, precision_recall
from cnnvision.types import DetectionPrediction, Example

COUNTS = (1, 10, 100)
"""Detections of an image that count for average recall; the last for average precision, too."""


class DetectionEvaluator:
    """Against all objects of each image, in original pixels. Crowds and difficult objects are neither right nor wrong.

    Metrics: `AP` (mean over IoU .50 … .95), `AP50`, `AP75`, `AP/CLASS`; `APs`, `APm`, `APl` within the data's ranges of
    area; `AR1`, `AR10`, `AR100`; VOC's `AP50/voc07` (11 points) and `AP50/voc10` (area). What no object stands for is NaN.

    Args:
        classes: their names.
        area_ranges: "small", "medium" and "large" -> (least, most), square pixels.

    Attributes:
        images: of each image (objects, boxes, labels, scores), as they were given, the padding left out.
    """

    def __init__(self, classes: Sequence[str], area_ranges: Mapping[str, tuple[float, float]]):
        self.classes, self.area_ranges = tuple(classes), dict(area_ranges)
        self.images: list[tuple[Any, np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, examples: Sequence[Example], predictions: DetectionPrediction) -> None:
        """Adds images; `predictions.boxes` is float [len(examples), d, 4] x1 y1 x2 y2, original pixels."""
        for row, example in enumerate(examples):
            if example.objects is None:
                continue
            found = np.asarray(predictions.valid[row])
            boxes, labels, scores = (
                np.asarray(x[row])[found] for x in (predictions.boxes, predictions.labels, predictions.scores)
            )
            self.images.append((example.objects, boxes.astype(np.float64), labels, scores.astype(np.float64)))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no object counts."""
        return {**self._coco(), **self._voc(), "images": float(len(self.images))}

    def _coco(self) -> dict[str, float]:
        evaluation = coco_evaluation(self.images, len(self.classes), self.area_ranges)
        # Precision [IoU, recall, class, range, count], recall [IoU, class, range, count]; −1 where no object stands.
        precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
        mean = lambda values: float(values[values > -1].mean()) if (values > -1).any() else float("nan")
        metrics = {"AP": mean(precision[:, :, :, 0, -1])}
        metrics |= {f"AP{percent}": mean(precision[i, :, :, 0, -1]) for percent, i in ((50, 0), (75, 5))}
        metrics |= {f"AP{name[0]}": mean(precision[:, :, :, 1 + i, -1]) for i, name in enumerate(self.area_ranges)}
        metrics |= {f"AR{count}": mean(recall[:, :, 0, i]) for i, count in enumerate(COUNTS)}
        return metrics | {f"AP/{name}": mean(precision[:, :, k, 0, -1]) for k, name in enumerate(self.classes)}

    def _voc(self) -> dict[str, float]:
        curves = [self.precision_recall(label) for label in range(len(self.classes))]
        found = lambda points: [average_precision(*curve, points) for curve in curves]
        mean = lambda values: float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
        return {"AP50/voc07": mean(found(11)), "AP50/voc10": mean(found(0))}

    def precision_recall(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall of one class at IoU 0.5, after each detection, the best first."""
        truths, places, boxes, scores = [], [], [], []
        for place, (objects, its_boxes, labels, its_scores) in enumerate(self.images):
            mine, found = objects.labels == label, labels == label
            truths.append(Truth(objects.boxes[mine], objects.crowd[mine]))
            places += [place] * int(found.sum())
            boxes.append(its_boxes[found])
            scores.append(its_scores[found])
        join = lambda parts, shape: np.concatenate([np.zeros(shape), *parts])
        return precision_recall(truths, np.array(places, int), join(boxes, (0, 4)), join(scores, 0))


def coco_evaluation(
    images: Sequence[tuple[Any, np.ndarray, np.ndarray, np.ndarray]],
    classes: int,
    area_ranges: Mapping[str, tuple[float, float]],
    counts: Sequence[int] = COUNTS,
) -> COCOeval:
    """COCO's own evaluation, accumulated.

    Args:
        images: as `DetectionEvaluator.images`.
        classes: how many.
        area_ranges: name -> (least, most), square pixels; "all" is put before them.
        counts: how many of an image's best detections count; the last for precision.
    """
    sides = lambda boxes: np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64).tolist()
    annotations, found = [], []
    for image, (objects, boxes, labels, scores) in enumerate(images):
        columns = (sides(objects.boxes), objects.labels.tolist(), objects.area.tolist(), objects.crowd.tolist())
        for box, label, area, crowd in zip(*columns, strict=True):
            # The published code takes an annotation with the id 0 for none.
            row = dict(id=len(annotations) + 1, image_id=image, category_id=label, bbox=box, area=area, iscrowd=int(crowd))
            annotations.append(row)
        for box, label, score in zip(sides(boxes), labels.tolist(), scores.tolist(), strict=True):
            row = dict(id=len(found) + 1, image_id=image, category_id=label, bbox=box, area=box[2] * box[3], iscrowd=0)
            found.append({**row, "score": score})
    truth, answers = COCO(), COCO()
    ids = [{"id": image} for image in range(len(images))]
    categories = [{"id": label} for label in range(classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {"images": ids, "categories": categories, "annotations": annotations}
        truth.createIndex()
        answers.dataset = {"images": ids, "categories": categories, "annotations": found}
        answers.createIndex()
        evaluation = COCOeval(truth, answers, "bbox")
        evaluation.params.areaRng = [[0.0, 1e10], *([float(x) for x in bounds] for bounds in area_ranges.values())]
        evaluation.params.areaRngLbl = ["all", *area_ranges]
        evaluation.params.maxDets = list(counts)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation
