"""How far an average precision may lie from its value on other images of the same kind (cnnvision/evaluation/bootstrap.py).

COCO matches detections with objects image by image, so a resample needs no new matches: each image's detections count as
often as it was drawn. Copies of a detection follow one another in the ranking, and between them precision only rises (a
right one) or falls (a wrong one) towards its value after the last, so one step of that weight gives the precision that
COCO's code finds for the drawn set.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from cnnvision.evaluation.bootstrap import BLOCK, resamples
from cnnvision.evaluation.coco import HALF, RECALLS, Matches


def resampled_precisions(
    matches: Sequence[Matches], rounds: int = 1000, seed: int = 0
) -> dict[str, Float64[np.ndarray, "rounds"]]:
    """ "AP" and "AP50" of `rounds` sets of images, each drawn with replacement; NaN where a set has no object.

    The same number of images, rounds and seed draw the same sets, so two detectors' values may be subtracted.

    Args:
        matches: of each class, from one evaluation.
        rounds: number of sets.
        seed: of the draw.
    """
    drawn, thresholds = resamples(len(matches[0].objects), rounds, seed), len(matches[0].right)
    values = np.full((rounds, thresholds, len(matches)), np.nan)
    for label, of_class in enumerate(matches):
        for start in range(0, rounds, BLOCK):
            weights = drawn[start : start + BLOCK]
            there, of_detection = weights @ of_class.objects, weights[:, of_class.image]
            for i in range(thresholds):
                right, wrong = of_class.right[i], of_class.wrong[i]
                values[start : start + BLOCK, i, label] = _precision(of_detection, right, wrong, there)
    return {"AP": _mean(values.reshape(rounds, -1)), "AP50": _mean(values[:, HALF])}


def _precision(
    weights: Int64[np.ndarray, "b d"], right: np.ndarray, wrong: np.ndarray, there: np.ndarray
) -> Float64[np.ndarray, "b"]:
    """Mean over COCO's recalls of the highest precision at this recall or beyond; NaN without objects.

    Args:
        weights: how often each detection, ranked by score, counts in each resample.
        right, wrong: bool [d]; a detection that is neither does not count.
        there: [b], objects.
    """
    hits = np.cumsum(weights[:, right], axis=1).astype(np.float64)
    # Precision is needed after right detections alone: those after which recall grows.
    misses = np.cumsum(weights * wrong, axis=1)[:, right]
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    means = np.full(len(weights), np.nan)
    for row in np.flatnonzero(there > 0):
        first = np.searchsorted(hits[row] / there[row], RECALLS, side="left")
        reached = first[first < hits.shape[1]]
        means[row] = precision[row, reached].sum() / len(RECALLS)
    return means


def _mean(values: Float64[np.ndarray, "rounds n"]) -> Float64[np.ndarray, "rounds"]:
    """Over what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))
