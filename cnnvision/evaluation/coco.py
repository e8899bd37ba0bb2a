"""COCO's evaluation: average precision, recall, and which detection matches which object.

The rules are those of pycocotools' `COCOeval`, and so are the numbers; the tests compare them. Its loops over images,
classes and ranges of area are minutes of Python for 5,000 images. Here the detections that can match anything at all are
matched for all thresholds and ranges at once, in rounds: in each, the next best detection of every image and class.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cnnvision.evaluation.overlap import KINDS, LEAST

COUNTS = (1, 10, 100)
"""Detections of an image that count for average recall; the last for average precision, too."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read."""
THRESHOLDS = np.linspace(LEAST, 0.95, 10)
"""IoU from which on a detection is right."""
HALF, THREE_QUARTERS = 0, 5
"""Indices of IoUs of .50 and .75 among them."""


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


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `coco_evaluation` found, under pycocotools' names.

    Attributes:
        eval: "precision", float64 [IoU, recall, class, range, count], and "recall", [IoU, class, range, count]; −1 where no
            object counts. Range 0 is that of all areas.
        evalImgs: by class, then range; of all images together, ranked by score: "dtScores" [d], "dtMatches" and "dtIgnore"
            bool [IoU, d], "image" [d], "rank" [d] (how many of its image and class are better), "objects" [images].
    """

    eval: dict[str, np.ndarray]
    evalImgs: list[dict[str, np.ndarray]]


def coco_evaluation(
    images: Sequence[tuple[Any, Any, np.ndarray, np.ndarray]],
    classes: int,
    area_ranges: Mapping[str, tuple[float, float]],
    counts: Sequence[int] = COUNTS,
    kind: Literal["bbox", "segm", "boundary"] = "bbox",
) -> Evaluation:
    """Detections of all images held against their objects.

    Args:
        images: of each (objects, shapes, labels, scores): `Objects`; of the detections what `kind` compares (`KINDS`);
            int [d]; float64 [d]. Masks are codes, those of the objects, too.
        classes: how many.
        area_ranges: name -> (least, most), square pixels; "all" is put before them.
        counts: how many of an image's best detections of a class count, in increasing order; the last for precision.
        kind: what the IoU is of.
    """
    of, ranges = KINDS[kind], np.array([[0.0, 1e10], *area_ranges.values()])
    outside = lambda areas: (areas < ranges[:, :1]) | (areas > ranges[:, 1:])  # [a, n]
    # All objects, all detections, each by image and class; a key is one class of one image.
    keys = lambda labels: _joined([i * classes + np.asarray(each, np.int64) for i, each in enumerate(labels)], np.int64)
    key = keys([objects.labels for objects, *_ in images])
    order = np.argsort(key, kind="stable")
    key, crowd = key[order], _joined([objects.crowd for objects, *_ in images], bool)[order]
    ignored = crowd | outside(_joined([objects.area for objects, *_ in images], np.float64)[order])
    truths = _joined([of.of_objects(objects) for objects, *_ in images])[order]

    found_key, scores = keys([labels for *_, labels, _ in images]), _joined([row[3] for row in images], np.float64)
    order = np.lexsort((-scores, found_key))  # equal scores in the order given
    rank = np.arange(len(order)) - np.searchsorted(found_key[order], found_key[order])
    order, rank = order[rank < counts[-1]], rank[rank < counts[-1]]
    found_key, scores = found_key[order], scores[order]
    found = _joined([of.of_found(shapes) for _, shapes, *_ in images])[order]

    pairs = collections.defaultdict(list)
    both = np.intersect1d(key, found_key)
    ends = [np.searchsorted(rows, both, side).tolist() for rows in (found_key, key) for side in ("left", "right")]
    for mine, last, theirs, end in zip(*ends, strict=True):
        iou = of.overlaps(found[mine:last], truths[theirs:end], crowd[theirs:end])
        near = np.flatnonzero(iou.max(axis=1) >= LEAST)
        if len(near):
            pairs[end - theirs].append((mine + near, theirs, iou[near]))
    matched, ignoring = (np.zeros((len(ranges), len(THRESHOLDS), len(found)), bool) for _ in range(2))
    for same_number in pairs.values():
        _match(same_number, crowd, ignored, matched, ignoring)
    ignoring |= ~matched & outside(of.areas(found))[:, None]

    entries = []
    for label in range(classes):
        mine, theirs = np.flatnonzero(found_key % classes == label), key % classes == label
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        columns = {"dtScores": scores[mine], "image": found_key[mine] // classes, "rank": rank[mine]}
        for i in range(len(ranges)):
            objects = np.bincount(key[theirs & ~ignored[i]] // classes, minlength=len(images)).astype(float)
            matches = {"dtMatches": matched[i][:, mine], "dtIgnore": ignoring[i][:, mine]}
            entries.append({**columns, **matches, "objects": objects})
    curves = [_curves(entry, counts) for entry in entries]
    shape = (classes, len(ranges), len(counts), len(THRESHOLDS))
    precision = np.array([curve for curve, _ in curves]).reshape(*shape, len(RECALLS)).transpose(3, 4, 0, 1, 2)
    recall = np.array([last for _, last in curves]).reshape(shape).transpose(3, 0, 1, 2)
    return Evaluation({"precision": precision, "recall": recall}, entries)


def _joined(parts: Sequence[Any], dtype: Any = None) -> np.ndarray:
    """One after the other; where there is no part, nothing."""
    return np.concatenate([np.asarray(part, dtype) for part in parts]) if parts else np.zeros(0, dtype)


def _match(
    pairs: list[tuple[np.ndarray, int, np.ndarray]],
    crowd: np.ndarray,
    ignored: np.ndarray,
    matched: np.ndarray,
    ignoring: np.ndarray,
) -> None:
    """Matches the detections of images and classes that have equally many objects, the best detection first.

    A detection takes the object with the highest IoU, of equals the last, that is not taken; one that is ignored (a crowd,
    or of another area) only where no other fits, and then it is ignored itself. A crowd may be taken often.

    Args:
        pairs: of each (detections int [d], the best first; its first object; IoU float64 [d, n]).
        crowd, ignored: bool [objects], bool [ranges, objects].
        matched, ignoring: bool [ranges, IoU, detections], written to: which have an object, and which an ignored one.
    """
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))  # those that have a detection left stand before the others
    count = pairs[0][2].shape[1]
    objects = np.array([first for _, first, _ in pairs])[:, None] + np.arange(count)
    many = crowd[objects][:, None, None]  # [pairs, ranges, IoU, n]
    regular = ~ignored[:, objects].swapaxes(0, 1)[:, :, None]
    free = np.ones((len(pairs), len(ignored), len(THRESHOLDS), count), bool)
    for turn in range(len(pairs[0][0])):
        now = [pair for pair in pairs[: len(free)] if len(pair[0]) > turn]
        free = free[: len(now)]
        iou = np.stack([pair[2][turn] for pair in now])[:, None, None]
        fits = (iou >= THRESHOLDS[:, None]) & (free | many[: len(now)])
        better = fits & regular[: len(now)]
        whole = better.any(axis=-1)
        taken = np.where(np.where(whole[..., None], better, fits), iou, -1.0)
        best = count - 1 - np.argmax(taken[..., ::-1], axis=-1)
        hit = fits.any(axis=-1)
        free &= ~(hit[..., None] & (best[..., None] == np.arange(count)))
        which = [pair[0][turn] for pair in now]
        matched[:, :, which] = np.moveaxis(hit, 0, -1)
        ignoring[:, :, which] = np.moveaxis(hit & ~whole, 0, -1)


def _curves(entry: dict[str, np.ndarray], counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Precision [count, IoU, recall] and the last recall [count, IoU] of one class and range; −1 without objects."""
    precision, recall = np.zeros((len(counts), len(THRESHOLDS), len(RECALLS))), np.zeros((len(counts), len(THRESHOLDS)))
    there = entry["objects"].sum()
    if not there:
        return precision - 1, recall - 1
    for i, count in enumerate(counts):
        first = entry["rank"] < count
        matched, ignored = entry["dtMatches"][:, first], entry["dtIgnore"][:, first]
        right, wrong = (np.cumsum(rows & ~ignored, axis=1).astype(np.float64) for rows in (matched, ~matched))
        if not right.size:
            continue
        recall[i] = right[:, -1] / there
        envelope = np.maximum.accumulate((right / (wrong + right + np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
        for threshold, recalls in enumerate(right / there):
            reached = np.searchsorted(recalls, RECALLS, side="left")
            reached = reached[reached < len(recalls)]
            precision[i, threshold, : len(reached)] = envelope[threshold, reached]
    return precision, recall


def matches_of(evaluation: Evaluation, area_range: int = 0) -> list[Matches]:
    """How an evaluation matched the detections of each class, in one of its ranges of area; 0 is that of all areas."""
    ranges, matches = evaluation.eval["precision"].shape[3], []
    for each in evaluation.evalImgs[area_range::ranges]:
        matched, counts = each["dtMatches"], ~each["dtIgnore"]
        matches.append(Matches(each["dtScores"], each["image"], matched & counts, ~matched & counts, each["objects"]))
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
