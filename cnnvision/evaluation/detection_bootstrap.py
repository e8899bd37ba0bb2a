"""How far an average precision may lie from its value on other images of the same kind (cnnvision/evaluation/bootstrap.py).

COCO matches detections with objects image by image, so a resample needs no new matches: each image's detections count as
often as it was drawn. Copies of a detection follow one another in the ranking, and between them precision only rises (a
right one) or falls (a wrong one) towards its value after the last, so one step of that weight gives the precision that
COCO's code finds for the drawn set.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from cnnvision.evaluation.bootstrap import BLOCK, resamples
from cnnvision.evaluation.detection import coco_evaluation

HALF = 0
"""The place of an IoU of .50 among COCO's thresholds."""


def resampled_precisions(
    images: Sequence[tuple[Any, np.ndarray, np.ndarray, np.ndarray]], classes: int, rounds: int = 1000, seed: int = 0
) -> dict[str, Float64[np.ndarray, "rounds"]]:
    """ "AP" and "AP50" of so many sets of images, each drawn with replacement; NaN where a set has no object.

    The same count of images, rounds and seed draw the same sets: two detectors' values on the same images may be subtracted.

    Args:
        images: as `DetectionEvaluator.images`.
        classes: how many.
        rounds: number of sets.
        seed: of the draw.
    """
    evaluation = coco_evaluation(images, classes, {})
    recalls, thresholds = evaluation.params.recThrs, len(evaluation.params.iouThrs)
    drawn, count = resamples(len(images), rounds, seed), len(images)
    values = np.full((rounds, thresholds, classes), np.nan)
    for label in range(classes):
        found = [(place, each) for place, each in enumerate(evaluation.evalImgs[label * count :][:count]) if each]
        if not found:
            continue
        objects = np.zeros(count)
        for place, each in found:
            objects[place] = np.sum(np.asarray(each["gtIgnore"]) == 0)
        scores = np.concatenate([each["dtScores"] for _, each in found])
        order = np.argsort(-scores, kind="mergesort")
        owner = np.concatenate([np.full(len(each["dtScores"]), place) for place, each in found])[order].astype(int)
        matched = np.concatenate([each["dtMatches"] for _, each in found], axis=1)[:, order] > 0
        counts = ~np.concatenate([each["dtIgnore"] for _, each in found], axis=1)[:, order].astype(bool)
        for start in range(0, rounds, BLOCK):
            weights = drawn[start : start + BLOCK]
            there, of_detection = weights @ objects, weights[:, owner]
            for i in range(thresholds):
                right, wrong = matched[i] & counts[i], ~matched[i] & counts[i]
                values[start : start + BLOCK, i, label] = _precision(of_detection, right, wrong, there, recalls)
    return {"AP": _mean(values.reshape(rounds, -1)), "AP50": _mean(values[:, HALF])}


def _precision(
    weights: Int64[np.ndarray, "b d"], right: np.ndarray, wrong: np.ndarray, there: np.ndarray, recalls: np.ndarray
) -> Float64[np.ndarray, "b"]:
    """Mean precision at COCO's recalls, of detections ranked by score; NaN where there is no object.

    Args:
        weights: how often each detection counts, in each resample.
        right, wrong: bool [d]; a detection that is neither does not count.
        there: [b], objects.
        recalls: at which precision is read: the highest at this recall or beyond.
    """
    hits = np.cumsum(weights[:, right], axis=1).astype(np.float64)
    # Precision is needed after right detections alone: those after which recall grows.
    misses = np.cumsum(weights * wrong, axis=1)[:, right]
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    means = np.full(len(weights), np.nan)
    for row in np.flatnonzero(there > 0):
        places = np.searchsorted(hits[row] / there[row], recalls, side="left")
        reached = places[places < hits.shape[1]]
        means[row] = precision[row, reached].sum() / len(recalls)
    return means


def _mean(values: Float64[np.ndarray, "rounds n"]) -> Float64[np.ndarray, "rounds"]:
    """Over what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))
