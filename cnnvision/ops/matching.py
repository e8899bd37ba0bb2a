"""Which boxes (anchors, proposals) stand for which object, and which for none."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from cnnvision import types
from cnnvision.ops.boxes import covered, iou, pairwise

CROWD = 0.7
"""Boxes of which a crowd covers at least this share are not negative (Detectron's value)."""


@struct.dataclass
class Matches:
    """For each of n boxes; one that is neither positive nor negative is ignored.

    Attributes:
        object: int32 [n], position of the object that it overlaps most (the first of several; 0 where there is none).
        overlap: float32 [n], the IoU with that object.
        positive: bool [n], the box stands for that object.
        negative: bool [n], the box is background.
    """

    object: types.Array
    overlap: types.Array
    positive: types.Array
    negative: types.Array


def match(
    boxes: Float[Array, "n 4"],
    objects: Float[Array, "m 4"],
    valid: Bool[Array, "m"],
    crowd: Bool[Array, "m"],
    positive_from: float,
    negative_below: float,
    low_quality: bool = False,
) -> Matches:
    """Matches by IoU (Ren et al. 2015, section 3.1.2).

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        objects: x1 y1 x2 y2, input pixels.
        valid: which objects there are.
        crowd: objects that are neither positive nor negative (crowds, and VOC's difficult ones): nothing is matched to them,
            and what lies within them, or would not be negative were they objects like others, is not background.
        positive_from: IoU from which on a box is positive (case ii of the paper).
        negative_below: IoU with every object below which a box is negative.
        low_quality: whether for each object the boxes of highest IoU with it are positive too (case i), however low it is,
            as long as they touch. Such a box stands for the object that it itself overlaps most, as in the published code:
            that may be another one.
    """
    countable = valid & ~crowd
    overlaps = jnp.where(countable[None, :], pairwise(iou, boxes, objects), 0.0)
    best = jnp.max(overlaps, axis=1, initial=0.0)
    first = jnp.argmax(overlaps, axis=1) if len(objects) else jnp.zeros(len(boxes))
    positive = (best >= positive_from) & (best > 0)
    if low_quality:
        highest = jnp.max(overlaps, axis=0, initial=0.0)
        positive |= jnp.any((overlaps == highest[None, :]) & (overlaps > 0), axis=1)
    unsure = (pairwise(covered, boxes, objects) >= CROWD) | (pairwise(iou, boxes, objects) >= negative_below)
    negative = (best < negative_below) & ~positive & ~jnp.any(unsure & (valid & crowd)[None, :], axis=1)
    return Matches(first.astype(jnp.int32), best, positive, negative)
