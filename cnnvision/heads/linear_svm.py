"""One linear SVM a class on the network's features, with hard negative mining (Girshick et al. 2014, section 2.3 and
appendix B). On the host.

A class's positives are its objects' own boxes; its negatives are the regions that overlap none of them by an IoU of 0.3.
Between the two lies what teaches nothing. There are far too many negatives to hold: going through the images, those that the
SVM so far scores above −1, within its margin or on its wrong side, are added; when enough have come it is fitted again, and
those that it has left far behind are dropped.

Values are the published code's: features scaled to a mean norm of 20, C = 0.001, positives counted twice, a bias feature of
10, hard above −1.0001, easy below −1.2, fitted again after 2,000.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

NORM = 20.0
"""Mean length of the features that an SVM or a ridge regression sees: their constants are for this."""
HARD_ABOVE, EASY_BELOW = -1.0001, -1.2
NOTHING = -10.0
"""Bias of a class that has no example: what it scores."""

Read = Callable[[], Iterator[dict[str, np.ndarray]]]


def scale_of(read: Read) -> float:
    """What features are multiplied by, so that their mean norm is `NORM`; 1 where there are none.

    Args:
        read: () -> batches with "features" [b, r, d] and "valid" [b, r].
    """
    total, count = 0.0, 0
    for batch in read():
        norms = np.linalg.norm(batch["features"][batch["valid"]].astype(np.float64), axis=-1)
        total, count = total + norms.sum(), count + len(norms)
    return NORM * count / total if total > 0 else 1.0


@dataclasses.dataclass
class Pool:
    """What one class learns from. Attributes: positive, negative: scaled features [n, d]; new: negatives since the last
    fit."""

    positive: np.ndarray
    negative: np.ndarray
    new: int = 0


def fit_svms(
    read: Read,
    classes: int,
    *,
    C: float = 0.001,
    positive_weight: float = 2.0,
    bias_feature: float = 10.0,
    retrain: int = 2000,
    passes: int = 1,
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "k"]]:
    """Goes through the features, and returns (kernel, bias): features @ kernel + bias is each class's margin.

    Args:
        read: () -> batches with "features" [b, r, d], "valid" [b, r], "positive" and "negative" bool [b, r, k].
        classes: k.
        C, positive_weight, bias_feature: of each SVM.
        retrain: negatives of a class after which its SVM is fitted again.
        passes: over all images; fewer are made where one finds nothing new.
    """
    scale = scale_of(read)
    pools = _pools_of_positives(read, classes, scale)
    kernel, bias = np.zeros((pools[0].positive.shape[1], classes)), np.full(classes, NOTHING)
    fit = lambda pool: _fit(pool.positive, pool.negative, C, positive_weight, bias_feature)
    for _ in range(passes):
        before = [pool.negative for pool in pools]
        for batch in read():
            features = batch["features"].reshape(-1, len(kernel)).astype(np.float64) * scale
            there, negative = batch["valid"].reshape(-1), batch["negative"].reshape(-1, classes)
            margins = features @ kernel + bias
            for k, pool in enumerate(pools):
                if not len(pool.positive):
                    continue
                begun = len(pool.negative) > 0
                hard = there & negative[:, k] & ((margins[:, k] > HARD_ABOVE) | (not begun))
                found = _without(features[hard], before[k])
                pool.negative, pool.new = np.concatenate([pool.negative, found]), pool.new + len(found)
                if pool.new >= retrain or (not begun and pool.new):
                    kernel[:, k], bias[k] = fit(pool)
                    pool.negative = pool.negative[pool.negative @ kernel[:, k] + bias[k] >= EASY_BELOW]
                    pool.new = 0
        new = [pool for pool in pools if pool.new]
        for k, pool in enumerate(pools):
            if pool.new:
                kernel[:, k], bias[k] = fit(pool)
                pool.new = 0
        if not new:
            break
    return (kernel * scale).astype(np.float32), bias.astype(np.float32)


def _pools_of_positives(read: Read, classes: int, scale: float) -> list[Pool]:
    found: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for batch in read():
        for k in range(classes):
            found[k].append(batch["features"][batch["valid"] & batch["positive"][..., k]].astype(np.float64) * scale)
    positives = [np.concatenate(of_class) for of_class in found]
    return [Pool(positive, np.zeros((0, positive.shape[1]))) for positive in positives]


def _without(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The rows that are not among the known ones (of a pass before)."""
    if not len(known):
        return rows
    there = {row.tobytes() for row in known}
    return rows[[row.tobytes() not in there for row in rows]] if len(rows) else rows


def _fit(positive: np.ndarray, negative: np.ndarray, C: float, weight: float, bias_feature: float) -> Any:
    """(w [d], b) of one SVM: hinge loss, the bias regularised with the rest, as liblinear has it."""
    import sklearn.exceptions
    import sklearn.svm

    svm = sklearn.svm.LinearSVC(
        C=C, loss="hinge", intercept_scaling=bias_feature, class_weight={1: weight}, random_state=0, max_iter=20_000
    )
    features = np.concatenate([positive, negative])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)  # then it is as good as it got
        svm.fit(features, np.arange(len(features)) < len(positive))
    return svm.coef_[0], svm.intercept_[0]
