"""How far an average precision may lie from its value on other images of the same kind (cnnvision/evaluation/bootstrap.py).

COCO matches detections with objects image by image, so a resample needs no new matches: each image's detections count as
often as it was drawn. Copies of a detection follow one another in the ranking, and between them precision only rises (a
right one) or falls (a wrong one) towards its value after the last, so one step of that weight gives the precision that
COCO's code finds for the drawn set.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int32, Integer

from cnnvision.evaluation.bootstrap import BLOCK
from cnnvision.evaluation.coco import RECALLS, Matches


def resampled_precisions(
    matches: Sequence[Matches], weights: Integer[np.ndarray, "rounds n"]
) -> Float64[np.ndarray, "rounds thresholds classes"]:
    """The average precision of each class at each IoU, on sets of images; NaN where a set has no object of the class.

    Args:
        matches: of each class, from one evaluation of n images.
        weights: how often each image is in each set (`bootstrap.resamples`).
    """
    rounds, thresholds = len(weights), len(matches[0].right)
    values = np.full((rounds, thresholds, len(matches)), np.nan)
    for label, of_class in enumerate(matches):
        counted = of_class.right | of_class.wrong
        # Precision is needed after right detections alone, where recall grows: what follows the last of them never counts.
        last = np.flatnonzero(of_class.right.any(axis=0)).max(initial=-1) + 1
        patterns, pattern_of = np.unique(counted[:, :last], axis=0, return_inverse=True)
        for start in range(0, rounds, BLOCK):
            drawn = np.ascontiguousarray(weights[start : start + BLOCK], np.int32)
            there, of_detection = drawn @ of_class.objects, drawn[:, of_class.image[:last]]
            ranks = [np.cumsum(of_detection * pattern, axis=1, dtype=np.int32) for pattern in patterns]
            for i in range(thresholds):
                right = of_class.right[i, :last]
                ranked = ranks[pattern_of.reshape(-1)[i]]
                values[start : start + BLOCK, i, label] = _precision(of_detection, ranked, right, there)
    return values


def mean_precision(values: Float64[np.ndarray, "rounds *n"]) -> Float64[np.ndarray, "rounds"]:
    """Over what is not NaN; NaN where nothing is."""
    values = values.reshape(len(values), -1)
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))


def _precision(
    weights: Int32[np.ndarray, "b d"],
    ranked: Int32[np.ndarray, "b d"],
    right: Bool[np.ndarray, "d"],
    there: Float64[np.ndarray, "b"],
) -> Float64[np.ndarray, "b"]:
    """Mean over COCO's recalls of the highest precision at this recall or beyond; NaN without objects.

    Args:
        weights: how often each detection, in the order of scores, is in each set.
        ranked: how many detections that count are up to it in each set, its own copies included.
        right: which are right.
        there: objects.
    """
    hits = np.cumsum(weights[:, right], axis=1, dtype=np.float64)
    precision = hits / np.maximum(ranked[:, right], np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.where(there > 0, there, np.nan)[:, None]
    # Each of COCO's recalls is read at the first detection that reaches it.
    reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
    means = (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1) / len(RECALLS)
    return np.where(there > 0, means, np.nan)
