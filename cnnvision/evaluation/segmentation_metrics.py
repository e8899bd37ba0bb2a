"""Metrics of semantic maps as pure functions: of confusion counts, of boundaries, of the partition into components.

Maps are uint8 [H, W] class ids. IGNORE (255) in the truth counts nowhere, whatever the prediction holds there; 255 in a
prediction is "no class": always wrong, and no class.

Confusion counts are [k, k + 1]: row the true class, column the predicted one, the last column "no class". Functions of
them take leading axes (images, resamples of a bootstrap) and integers or floats.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Real, UInt8

from cnnvision.errors import DataError
from cnnvision.types import IGNORE

NO_CLASS = 255
"""What a prediction holds where it names no class."""


@dataclasses.dataclass(frozen=True)
class SegmentedImage:
    """What one image adds to the metrics: enough to resample images (`cnnvision.evaluation.bootstrap`).

    Attributes:
        id: the example's.
        confusion: int64 [k, k + 1] pixels, row the true class, column the predicted one, the last "no class".
        boundary_f: in [0, 1], NaN where no class has a boundary.
        rand_error: in [0, 1], of two classes only, else NaN.
        foreground_rand_score: in [0, 1], of two classes only, else NaN; NaN where the truth has no foreground.
    """

    id: str
    confusion: np.ndarray
    boundary_f: float
    rand_error: float = float("nan")
    foreground_rand_score: float = float("nan")


def _share(part: Real[np.ndarray, "*n"], whole: Real[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def mean_of_defined(values: Float64[np.ndarray, "*n m"]) -> Float64[np.ndarray, "*n"]:
    """Mean over the last axis of the values that are not NaN; NaN where there are none."""
    defined = ~np.isnan(values)
    return _share(np.asarray(np.where(defined, values, 0.0).sum(-1)), np.asarray(defined.sum(-1)))


# Confusion counts --------------------------------------------------------------------------------------------------------


def confusion_counts(
    truth: UInt8[np.ndarray, "H W"], labels: UInt8[np.ndarray, "H W"], classes: int
) -> Int64[np.ndarray, "{classes} {classes}+1"]:
    """How often each pair of a true and a predicted class occurs; the last column is "no class".

    Raises:
        DataError: the truth holds an id that is neither a class nor IGNORE.
        ValueError: the prediction does.
    """
    # One pass over the pixels, whatever the number of classes: the ids that should not be there are seen for free.
    pairs = np.bincount((truth.astype(np.uint16) << 8 | labels).ravel(), minlength=1 << 16).reshape(256, 256)
    strange = np.flatnonzero(pairs.sum(1)[classes:IGNORE]) + classes
    if strange.size:
        raise DataError(
            f"the true map holds the id {strange[0]}, but its classes are 0 to {classes - 1} (and {IGNORE} for pixels that"
            " do not count). Map the raw values through the source's class table."
        )
    strange = np.flatnonzero(pairs[:classes].sum(0)[classes:NO_CLASS]) + classes
    if strange.size:
        raise ValueError(f"the predicted map holds the id {strange[0]}, but its classes are 0 to {classes - 1}")
    return np.hstack([pairs[:classes, :classes], pairs[:classes, NO_CLASS:]]).astype(np.int64)


def _hits_and_sizes(confusion: Real[np.ndarray, "*n k k+1"]) -> tuple[Real[np.ndarray, "*n k"], Real[np.ndarray, "*n k"]]:
    """Of each class: the pixels that truth and prediction share, and those of the truth plus those of the prediction."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(-1) + confusion[..., :-1].sum(-2)


def class_iou(confusion: Real[np.ndarray, "*n k k+1"]) -> Float64[np.ndarray, "*n k"]:
    """TP / (TP + FP + FN) of each class; NaN where neither truth nor prediction has the class."""
    hits, sizes = _hits_and_sizes(confusion)
    return _share(hits, sizes - hits)


def mean_iou(confusion: Real[np.ndarray, "*n k k+1"]) -> Float64[np.ndarray, "*n"]:
    """Mean IoU of the classes that occur in truth or prediction."""
    return mean_of_defined(class_iou(confusion))


def dice(confusion: Real[np.ndarray, "*n k k+1"]) -> Float64[np.ndarray, "*n"]:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that occur in truth or prediction."""
    hits, sizes = _hits_and_sizes(confusion)
    return mean_of_defined(_share(2 * hits, sizes))


def pixel_accuracy(confusion: Real[np.ndarray, "*n k k+1"]) -> Float64[np.ndarray, "*n"]:
    """Share of the counted pixels that have their true class; one of no predicted class has not."""
    hits, _ = _hits_and_sizes(confusion)
    return _share(np.asarray(hits.sum(-1)), np.asarray(confusion.sum((-2, -1))))


# Boundaries --------------------------------------------------------------------------------------------------------------


def boundary(labels: UInt8[np.ndarray, "H W"], counted: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Counted pixels with a counted 4-neighbour of another id; the image's border is no boundary."""
    result = np.zeros(labels.shape, bool)
    down = (labels[1:] != labels[:-1]) & counted[1:] & counted[:-1]
    right = (labels[:, 1:] != labels[:, :-1]) & counted[:, 1:] & counted[:, :-1]
    result[1:] |= down
    result[:-1] |= down
    result[:, 1:] |= right
    result[:, :-1] |= right
    return result


def squared_tolerance(height: int, width: int) -> int:
    """The largest squared distance, pixels², that is within 0.75 % of the diagonal; at least 1.

    Squared distances between pixel centres are whole numbers, and 0.75 % squared is 9 / 160000: so this needs no rounding.
    """
    return max(1, 9 * (height * height + width * width) // 160_000)


def near(mask: UInt8[np.ndarray, "h w"], squared: int) -> UInt8[np.ndarray, "h w"]:
    """1 where a pixel of the mask (0 or 1) lies within a squared distance, pixels² between centres, inclusive; else 0."""
    radius = int(np.sqrt(squared))
    if radius > 12:  # beyond it the distance transform is the faster one (measured; at 512 x 512 a disc is six times faster)
        distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Its square roots are rounded; half a unit of squared distance lies between the last pixel in and the first out.
        return (distance < np.float32(np.sqrt(squared + 0.5))).astype(np.uint8)
    offsets = np.arange(-radius, radius + 1) ** 2
    return cv2.dilate(mask, (offsets[:, None] + offsets <= squared).astype(np.uint8))


def boundary_f(truth: UInt8[np.ndarray, "H W"], labels: UInt8[np.ndarray, "H W"]) -> float:
    """Boundary F-score of one image, in [0, 1]; NaN where no class has a boundary on either side.

    Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?", section 3. Of each class: precision
    is the share of its predicted boundary pixels within θ of a boundary pixel of that class in the truth, recall the
    reverse, F = 2PR / (P + R), and 0 where one side has no boundary. The image's value is the mean over the classes that
    have a boundary on either side. θ is 0.75 % of the image's diagonal, at least 1 pixel, between pixel centres, inclusive.

    A boundary pixel is one of the class with a 4-neighbour of another class (`boundary`). Neighbours that are ignored in
    the truth make none, on either side; a neighbour of no predicted class makes one, since the class ends there.
    """
    counted = truth != IGNORE
    edges = boundary(truth, counted), boundary(labels, counted)
    classes = np.union1d(truth[edges[0]], labels[edges[1]])
    scores = []
    for class_id in classes[classes != NO_CLASS]:
        both = [(edge & (ids == class_id)).view(np.uint8) for edge, ids in zip(edges, (truth, labels), strict=True)]
        # Nothing outside the box around both boundaries matters.
        x, y, width, height = cv2.boundingRect(both[0] | both[1])
        true, predicted = (np.ascontiguousarray(mask[y : y + height, x : x + width]) for mask in both)
        scores.append(_f_score(true, predicted, squared_tolerance(*truth.shape)))
    return float(np.mean(scores)) if scores else float("nan")


def _f_score(true: UInt8[np.ndarray, "h w"], predicted: UInt8[np.ndarray, "h w"], squared: int) -> float:
    true_count, predicted_count = cv2.countNonZero(true), cv2.countNonZero(predicted)
    if not true_count or not predicted_count:
        return 0.0
    precision = cv2.countNonZero(predicted & near(true, squared)) / predicted_count
    recall = cv2.countNonZero(true & near(predicted, squared)) / true_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


# Partitions --------------------------------------------------------------------------------------------------------------


def _squares(ids: Integer[np.ndarray, "n"], pixels: Int64[np.ndarray, "n"]) -> int:
    """Sum over ids of the square of their pixels; exact, and below 2^63 up to 3·10^9 pixels."""
    sizes = np.bincount(ids, pixels).astype(np.int64)
    return int(sizes @ sizes)


def rand_scores(
    truth: UInt8[np.ndarray, "H W"], labels: UInt8[np.ndarray, "H W"], background: int = 0
) -> tuple[float, float]:
    """How two maps agree as partitions into segments: (rand_error, foreground_rand_score).

    Every class but `background` is foreground. Segments are the 4-connected components of the foreground among the counted
    pixels, and all of the background together as one more.

    rand_error: 1 − the Rand index (Rand 1971): the share of pairs of different counted pixels that lie in one segment on
    one side and in two on the other. A pair with a pixel of no predicted class counts as such. NaN below two counted pixels.

    foreground_rand_score: V^Rand with α = 0.5 (Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142) over the
    pixels that are foreground in the truth, Σ p_ij² / (0.5 Σ s_k² + 0.5 Σ t_k²), with p_ij the pixels of true segment i in
    predicted segment j, t and s the sizes of true and predicted segments there; 1 is best. Predicted background is one
    segment like the others; pixels of no predicted class are one segment of s that shares nothing with any of t. NaN where
    the truth has no foreground.

    Deviations: scikit-image's adapted_rand_error (1 − this score) takes predicted background as one segment too, but counts
    pairs of different pixels, Σ p (p − 1) and so on, where this one counts as the paper's formula does, pixels paired with
    themselves included. The difference is of the order of segments / pixels. The scripts of the SNEMI3D and CREMI contests
    leave predicted zeros out of s and p but for a vanishing term, so they charge a prediction with too much background less.
    """
    counted = truth != IGNORE
    foreground = counted & (truth != background), counted & (labels != background) & (labels != NO_CLASS)
    _, true_segments = cv2.connectedComponents(foreground[0].view(np.uint8), connectivity=4)
    silent, predicted_segments = cv2.connectedComponents(foreground[1].view(np.uint8), connectivity=4)
    predicted_segments[labels == NO_CLASS] = silent
    pairs = true_segments[counted].astype(np.int64) * (silent + 1) + predicted_segments[counted]
    pairs, shared = np.unique(pairs, return_counts=True)
    true, predicted = np.divmod(pairs, silent + 1)
    pair = np.arange(len(pairs))

    labelled = predicted < silent
    pixels, known = int(shared.sum()), int(shared[labelled].sum())
    sides = _squares(true[labelled], shared[labelled]) + _squares(predicted[labelled], shared[labelled])
    disagreeing = sides - 2 * _squares(pair[labelled], shared[labelled])
    disagreeing += pixels * (pixels - 1) - known * (known - 1)
    error = disagreeing / (pixels * (pixels - 1)) if pixels > 1 else float("nan")

    cells = true > 0
    sides = _squares(true[cells], shared[cells]) + _squares(predicted[cells], shared[cells])
    agreeing = _squares(pair[cells & labelled], shared[cells & labelled])
    return error, 2 * agreeing / sides if sides else float("nan")
