"""COCO's own published evaluation, run on arrays: average precision, recall, and which detection matches which object."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

COUNTS = (1, 10, 100)
"""Detections of an image that count for average recall; the last for average precision, too."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read."""
HALF = 0
"""Index of an IoU of .50 among COCO's thresholds."""


@dataclasses.dataclass(frozen=True)
class Matches:
    """One class's detections in all images, ranked by score.

    Attributes:
        scores: float [d], descending.
        image: int [d], index of each detection's image.
        right, wrong: bool [t, d] at each of COCO's IoU thresholds; neither where the detection matches a crowd.
        objects: float [n], how many objects of each image count.
    """

    scores: np.ndarray
    image: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray


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
    truth, predicted = COCO(), COCO()
    ids = [{"id": image} for image in range(len(images))]
    categories = [{"id": label} for label in range(classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        for data, rows in ((truth, annotations), (predicted, found)):
            data.dataset = {"images": ids, "categories": categories, "annotations": rows}
            data.createIndex()
        evaluation = COCOeval(truth, predicted, "bbox")
        evaluation.params.areaRng = [[0.0, 1e10], *([float(x) for x in bounds] for bounds in area_ranges.values())]
        evaluation.params.areaRngLbl = ["all", *area_ranges]
        evaluation.params.maxDets = list(counts)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def matches_of(evaluation: COCOeval) -> list[Matches]:
    """How an evaluation matched the detections of each class, whatever the objects' areas."""
    params, matches = evaluation.params, []
    count, thresholds = len(params.imgIds), len(params.iouThrs)
    for label in range(len(params.catIds)):
        # By class, then range of area ("all" is the first), then image; None where an image has nothing of the class.
        of_images = evaluation.evalImgs[label * len(params.areaRng) * count :][:count]
        found = [(image, each) for image, each in enumerate(of_images) if each]
        objects = np.zeros(count)
        for image, each in found:
            objects[image] = np.sum(np.asarray(each["gtIgnore"]) == 0)
        join = lambda key, found=found: np.concatenate(
            [np.zeros((thresholds, 0)), *(each[key] for _, each in found)], axis=1
        )
        scores = np.concatenate([np.zeros(0), *(each["dtScores"] for _, each in found)])
        image = np.repeat([image for image, _ in found], [len(each["dtScores"]) for _, each in found]).astype(int)
        order = np.argsort(-scores, kind="mergesort")
        matched, counts = join("dtMatches")[:, order] > 0, join("dtIgnore")[:, order] == 0
        matches.append(Matches(scores[order], image[order], matched & counts, ~matched & counts, objects))
    return matches


def best_threshold(matches: Sequence[Matches]) -> float:
    """The score from which on the detections of all classes have the highest F1 at an IoU of .50.

    F1 = 2 · right / (right + wrong + objects). Equal scores are kept or dropped together; of equal F1 the highest score is
    taken. 0.5 where no detection is right.
    """
    scores = np.concatenate([np.zeros(0), *(each.scores for each in matches)])
    order = np.argsort(-scores)
    right, wrong = (
        np.cumsum(np.concatenate([np.zeros(0), *(getattr(each, kind)[HALF] for each in matches)])[order])
        for kind in ("right", "wrong")
    )
    if not right.any():
        return 0.5
    scores = scores[order]
    f1 = 2 * right / (right + wrong + sum(each.objects.sum() for each in matches))
    last = np.append(scores[1:] < scores[:-1], True)  # of each group of equal scores
    return float(scores[np.argmax(np.where(last, f1, -1.0))])
