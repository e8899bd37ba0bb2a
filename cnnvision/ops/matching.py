"""Which boxes (anchors, default boxes, proposals) stand for which object, which for none; and which of them a loss is
computed on: most boxes are background, and would dominate it."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from cnnvision import types
from cnnvision.ops.boxes import covered, iou, pairwise
from cnnvision.types import ObjectTarget

CROWD = 0.7
"""Boxes of which a crowd covers at least this share are not negative (Detectron's value)."""


@struct.dataclass
class Matches:
    """For each of n boxes; one that is neither positive nor negative is ignored.

    Attributes:
        object: int32 [n], position of the object that it overlaps most (the first of several; 0 where there is none), or,
            where the box is forced to stand for another one, of that.
        overlap: float32 [n], the highest IoU with an object.
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
    forced: bool = False,
) -> Matches:
    """Matches by IoU (Ren et al. 2015, section 3.1.2; Liu et al. 2016, section 2.2, "Matching strategy").

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
        forced: whether for each object the box of highest IoU with it (the first of several) stands for it, whatever else
            that box overlaps, as long as they touch: SSD's rule. Of several objects with the same such box the last one has
            it, as in torchvision.
    """
    countable = valid & ~crowd
    overlaps = jnp.where(countable[None, :], pairwise(iou, boxes, objects), 0.0)
    best = jnp.max(overlaps, axis=1, initial=0.0)
    first = jnp.argmax(overlaps, axis=1) if len(objects) else jnp.zeros(len(boxes))
    positive = (best >= positive_from) & (best > 0)
    if low_quality:
        highest = jnp.max(overlaps, axis=0, initial=0.0)
        positive |= jnp.any((overlaps == highest[None, :]) & (overlaps > 0), axis=1)
    if forced and overlaps.size:
        touched, number = jnp.max(overlaps, axis=0) > 0, jnp.arange(len(objects))  # never a padded object or a crowd
        of_object = jnp.where(touched, jnp.argmax(overlaps, axis=0), len(boxes))
        last = jnp.full(len(boxes), -1).at[of_object].max(number, mode="drop")
        first, positive = jnp.where(last >= 0, last, first), positive | (last >= 0)
    unsure = (pairwise(covered, boxes, objects) >= CROWD) | (pairwise(iou, boxes, objects) >= negative_below)
    negative = (best < negative_below) & ~positive & ~jnp.any(unsure & (valid & crowd)[None, :], axis=1)
    return Matches(first.astype(jnp.int32), best, positive, negative)


def match_inside(
    boxes: Float[Array, "n 4"],
    inside: Bool[Array, "n"],
    target: ObjectTarget,
    positive_from: float,
    negative_below: float,
    **rule: bool,
) -> Matches:
    """`match` of the boxes that lie in one image: the others are neither positive nor negative, nor the best that an object
    has.

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        inside: which take part.
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
        positive_from, negative_below, rule: as for `match`.
    """
    within = jnp.where(inside[:, None], boxes, 0.0)  # a box without area overlaps nothing
    found = match(within, target.boxes, target.valid, target.crowd, positive_from, negative_below, **rule)
    return found.replace(positive=found.positive & inside, negative=found.negative & inside)


def hard_negatives(
    losses: Float[Array, "n"], positive: Bool[Array, "n"], negative: Bool[Array, "n"], ratio: float
) -> Bool[Array, "n"]:
    """The negative boxes of one image that cost most (Liu et al. 2016, section 2.2, "Hard negative mining").

    Args:
        losses: of each box, were it background; not NaN.
        positive, negative: which boxes stand for an object, and which are background.
        ratio: how many are taken for each positive one at most; of equal losses the first. Without a positive box none is.
    """
    order = jnp.argsort(jnp.where(negative, -losses, jnp.inf), stable=True)
    place = jnp.arange(1, len(losses) + 1, dtype=jnp.float32)
    return negative & (jnp.zeros(len(losses)).at[order].set(place) <= ratio * jnp.sum(positive, dtype=jnp.float32))


@struct.dataclass
class Sample:
    """A fixed number of boxes, the positive ones first.

    Attributes:
        index: int32 [number], which of the boxes; 0 where nothing was left to draw.
        positive: bool [number], drawn from the positive ones.
        valid: bool [number], drawn at all.
    """

    index: types.Array
    positive: types.Array
    valid: types.Array


def sample_balanced(
    key: Key[Array, ""], positive: Bool[Array, "n"], negative: Bool[Array, "n"], number: int, share: float
) -> Sample:
    """Draws uniformly without replacement (Girshick 2015, section 2.3; Ren et al. 2015, section 3.1.3).

    Args:
        key: of this image.
        positive, negative: the boxes to draw from; none is both.
        number: how many are drawn.
        share: of positive ones, at most; where there are fewer, negative ones are drawn instead, as far as there are.
    """
    count = len(positive)
    noise = jax.random.uniform(key, (count,))
    # A uniform number may be 0: what cannot be drawn lies below.
    first = lambda among, most: lax.top_k(jnp.where(among, noise, -1.0), min(most, count))[1]
    quota = min(int(number * share), count)
    positives = jnp.minimum(jnp.sum(positive), quota)
    negatives = jnp.minimum(jnp.sum(negative), number - positives)
    position = jnp.arange(number)
    chosen_positive = _at(first(positive, quota), position)
    chosen_negative = _at(first(negative, number), position - positives)
    is_positive, valid = position < positives, position < positives + negatives
    index = jnp.where(is_positive, chosen_positive, chosen_negative)
    return Sample(jnp.where(valid, index, 0).astype(jnp.int32), is_positive, valid)


def _at(array: jax.Array, position: jax.Array) -> jax.Array:
    if not len(array):
        return jnp.zeros(position.shape, jnp.int32)
    return array[jnp.clip(position, 0, len(array) - 1)]
