"""From boxes and scores of classes to the detections of an image: clipping, suppression within each class, the best of all.

Girshick et al. 2014, section 2.2; all detectors end here.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnnvision.ops.boxes import clip, iou
from cnnvision.ops.nms import nms, rounded_down
from cnnvision.settings import Between, Share
from cnnvision.types import DetectionPrediction

SMALLEST = 1e-2
"""Least side of a detection, pixels; shorter ones (clipped away at the border, say) are dropped."""


AT_ONCE = 2**22
"""Pairs of boxes, of all classes together, that are held against each other at once where the classes share their boxes."""


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """Which boxes are detections."""

    score_above: Share = 0.05  # what scores no higher is dropped
    threshold: Share = 0.5  # IoU above which the worse of two boxes of one class is suppressed
    most: Annotated[int, Between(1, 10**6)] = 100  # of an image
    candidates: Annotated[int, Between(1, 10**6)] | None = None  # of each class, the best that take part in the suppression
    # (where the network sees thousands of boxes it would be slow without a limit); None for all


def detections(
    boxes: Float[Array, "n _ 4"],
    scores: Float[Array, "n k"],
    valid: Bool[Array, "n"],
    size: Int[Array, "2"],
    settings: DetectionSettings,
) -> DetectionPrediction:
    """The detections of one image.

    Args:
        boxes: x1 y1 x2 y2, input pixels, one for each class [n, k, 4], or one for all [n, 1, 4].
        scores: in [0, 1], without the background.
        valid: which of the n count.
        size: (height, width) of the part of the input that is image, pixels; boxes are clipped to it.
        settings: see there.

    Returns:
        boxes [most, 4], labels, scores and valid [most], the best first; 0 where there is nothing.
    """
    height, width = (jnp.broadcast_to(side.astype(jnp.float32), boxes.shape[:2]) for side in size)
    boxes = clip(boxes, height, width)
    large = jnp.all(boxes[..., 2:] - boxes[..., :2] >= SMALLEST, axis=-1)
    counts = (scores > settings.score_above) & large & valid[:, None]
    if settings.candidates is not None:
        boxes, scores, counts = _candidates(boxes, scores, counts, settings.candidates)
    best = (scores, counts, settings.threshold, settings.most)
    if boxes.shape[1] == 1 and scores.size * len(scores) <= AT_ONCE:
        index, labels, scores, valid = best_of_shared_boxes(boxes[:, 0], *best)
        return DetectionPrediction(jnp.where(valid[:, None], boxes[index, 0], 0.0), labels, scores, valid)
    boxes = jnp.broadcast_to(boxes, (*scores.shape, 4))
    index, labels, scores, valid = best_of_classes(boxes, *best)
    return DetectionPrediction(jnp.where(valid[:, None], boxes[index, labels], 0.0), labels, scores, valid)


def _candidates(
    boxes: Float[Array, "n _ 4"], scores: Float[Array, "n k"], counts: Bool[Array, "n k"], most: int
) -> tuple[Float[Array, "c k 4"], Float[Array, "c k"], Bool[Array, "c k"]]:
    """Boxes, scores and validity of the best of each class; of equal scores the first."""
    best, rows = lax.top_k(jnp.where(counts, scores.astype(jnp.float32), -1.0).T, min(most, len(scores)))
    columns = jnp.minimum(jnp.arange(scores.shape[1]), boxes.shape[1] - 1)
    return boxes[rows.T, columns[None, :]], best.T, best.T >= 0


def best_of_classes(
    boxes: Float[Array, "n k 4"], scores: Float[Array, "n k"], valid: Bool[Array, "n k"], threshold: float, most: int
) -> tuple[Int[Array, "d"], Int[Array, "d"], Float[Array, "d"], Bool[Array, "d"]]:
    """(index of the box, class, score, valid) of the `most` best boxes after greedy suppression within each class.

    No per-class quota, no pre-NMS top-k: equal to full NMS in each class, then the `most` best. (An iteration settles one
    box of each class, the best one left; after `most` iterations no class can have another among the best, and usually all
    is settled long before.) Where scores are equal, the lower class comes first, then the box that is given first.

    Args:
        boxes: x1 y1 x2 y2, one for each class.
        scores: of each box for each class, not negative.
        valid: what takes part.
        threshold: as for `nms`.
        most: how many are returned.
    """
    count, classes = scores.shape
    limit, each = rounded_down(threshold), jnp.arange(classes)
    scores = jnp.where(valid, scores.astype(jnp.float32), -1.0)
    nothing = jnp.min(scores, axis=0)[None, :] * 0.0 - 1.0  # varies over devices as the scores do

    def unsettled(state: tuple[jax.Array, ...]) -> jax.Array:
        left, found, _, i = state
        best = jnp.max(left)
        return (i < most) & (best >= 0) & (jnp.sum(found > best) < most)

    def settle(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, found, chosen, i = state
        index = jnp.argmax(left, axis=0)
        found = found.at[i].set(left[index, each])
        chosen = chosen.at[i].set(index.astype(jnp.int32))
        picked = jnp.broadcast_to(boxes[index, each][None], boxes.shape)
        gone = (iou(boxes, picked) > limit) | (jnp.arange(count)[:, None] == index[None, :])
        return jnp.where(gone, -1.0, left), found, chosen, i + 1

    found = jnp.broadcast_to(nothing, (most, classes))
    start = (scores, found, found.astype(jnp.int32), jnp.int32(0))
    _, found, chosen, _ = lax.while_loop(unsettled, settle, start)
    best, flat = lax.top_k(found.T.reshape(-1), most)
    valid = best >= 0
    index = jnp.where(valid, chosen.T.reshape(-1)[flat], 0)
    return index, jnp.where(valid, flat // most, 0).astype(jnp.int32), jnp.where(valid, best, 0.0), valid


def best_of_shared_boxes(
    boxes: Float[Array, "n 4"], scores: Float[Array, "n k"], valid: Bool[Array, "n k"], threshold: float, most: int
) -> tuple[Int[Array, "d"], Int[Array, "d"], Float[Array, "d"], Bool[Array, "d"]]:
    """`best_of_classes` where all classes have the same few boxes. A class is suppressed in a few rounds (`nms`), where that
    takes a round for each detection.

    Args:
        boxes: x1 y1 x2 y2; the others as there.
    """
    count = len(scores)
    keep = jax.vmap(lambda scores, valid: nms(boxes, scores, valid, threshold), in_axes=1)(scores, valid)
    found = jnp.where(keep, scores.T.astype(jnp.float32), -1.0).reshape(-1)
    missing = max(0, most - len(found))
    best, flat = lax.top_k(jnp.pad(found, (0, missing), constant_values=-1.0), most)
    there = best >= 0
    index, labels = jnp.where(there, flat % count, 0), jnp.where(there, flat // count, 0)
    return index.astype(jnp.int32), labels.astype(jnp.int32), jnp.where(there, best, 0.0), there
