"""Non-maximum suppression: among boxes that overlap, the best one stays. Greedy and exact, for any threshold.

Greedy: the best box stays, all that overlap it by more than the threshold go; so on with the best one left. Girshick et al.
2014, section 2.2. Boxes of equal score count in the order in which they are given.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float

from cnnvision import types
from cnnvision.ops.boxes import iou, pairwise

BLOCK = 2048
"""Boxes that are compared with each other at a time: what is compared takes memory by the square of it."""


def nms(
    boxes: Float[Array, "n 4"], scores: Float[Array, "n"], valid: Bool[Array, "n"], threshold: float
) -> Bool[Array, "n"]:
    """Which boxes stay.

    Args:
        boxes: x1 y1 x2 y2, any unit.
        scores: the best first; not NaN where valid.
        valid: boxes that take part; the others neither stay nor suppress.
        threshold: a box goes if its IoU with a better one that stays is greater than this.
    """
    count = len(boxes)
    if not count:
        return valid
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
    blocks = -(-count // BLOCK)
    missing = blocks * -(-count // blocks) - count
    ranked = jnp.pad(boxes[order], ((0, missing), (0, 0))).reshape(blocks, -1, 4)
    alive = jnp.pad(valid[order], (0, missing)).reshape(blocks, -1)
    limit, stays = rounded_down(threshold), []
    # Each block is settled within itself, then suppresses those behind it: what is ahead of it has done so already.
    for i in range(blocks):
        kept = _settle(pairwise(iou, ranked[i], ranked[i]) > limit, alive[i])
        stays.append(kept)
        for j in range(i + 1, blocks):
            gone = jnp.any((pairwise(iou, ranked[j], ranked[i]) > limit) & kept[None, :], axis=1)
            alive = alive.at[j].set(alive[j] & ~gone)
    return jnp.zeros(count, bool).at[order].set(jnp.concatenate(stays)[:count])


def _settle(overlapping: Bool[Array, "n n"], alive: Bool[Array, "n"]) -> Bool[Array, "n"]:
    """The boxes of a ranked list that stay.

    A box stays if no better one that stays overlaps it. Of that equation greedy suppression is the only solution, and each
    round of inserting settles at least one more place of the list: mostly, a few rounds settle them all.
    """
    better = overlapping & (jnp.arange(len(alive))[None, :] < jnp.arange(len(alive))[:, None])

    def again(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        stays, _ = state
        new = alive & ~jnp.any(better & stays[None, :], axis=1)
        return new, jnp.any(new != stays)

    # Not simply True: inside shard_map what a loop carries must vary over devices from the start.
    return lax.while_loop(lambda state: state[1], again, (alive, jnp.any(alive | True)))[0]


def rounded_down(threshold: float) -> np.float32:
    """The largest float32 that is not greater: x > threshold, for a float32 x, as if the threshold were not rounded."""
    near = np.float32(threshold)
    return near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf))


@struct.dataclass
class Detections:
    """The best boxes of an image, the best first.

    Attributes:
        index: int32 [d], which of the boxes; 0 where there is none.
        labels: int32 [d], class in [0, k); 0 where there is none.
        scores: float32 [d]; 0 where there is none.
        valid: bool [d].
    """

    index: types.Array
    labels: types.Array
    scores: types.Array
    valid: types.Array


def detect(
    boxes: Float[Array, "n k 4"], scores: Float[Array, "n k"], valid: Bool[Array, "n k"], threshold: float, most: int
) -> Detections:
    """The `most` best boxes of all classes, after a suppression within each class.

    No class has a share and no list is cut beforehand: the answer is that of suppressing each class to its end and then
    taking the best. (A round settles one box of each class, the best one left. After `most` rounds no class can have another
    among the best, and mostly all is settled long before.) Where scores are equal, the lower class comes first, then the
    box that is given first.

    Args:
        boxes: x1 y1 x2 y2, one for each class.
        scores: of each box for each class, not negative.
        valid: what takes part, scores above a threshold for example.
        threshold: as for `nms`.
        most: how many are returned.
    """
    count, classes = scores.shape
    limit, place = rounded_down(threshold), jnp.arange(classes)
    scores = jnp.where(valid, scores.astype(jnp.float32), -1.0)
    nothing = jnp.min(scores, axis=0)[None, :] * 0.0 - 1.0  # varies over devices as the scores do

    def unsettled(state: tuple[jax.Array, ...]) -> jax.Array:
        left, found, _, i = state
        best = jnp.max(left)
        return (i < most) & (best >= 0) & (jnp.sum(found > best) < most)

    def round_(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, found, chosen, i = state
        index = jnp.argmax(left, axis=0)
        found = found.at[i].set(left[index, place])
        chosen = chosen.at[i].set(index.astype(jnp.int32))
        picked = jnp.broadcast_to(boxes[index, place][None], boxes.shape)
        gone = (iou(boxes, picked) > limit) | (jnp.arange(count)[:, None] == index[None, :])
        return jnp.where(gone, -1.0, left), found, chosen, i + 1

    found = jnp.broadcast_to(nothing, (most, classes))
    start = (scores, found, found.astype(jnp.int32), jnp.int32(0))
    _, found, chosen, _ = lax.while_loop(unsettled, round_, start)
    best, flat = lax.top_k(found.T.reshape(-1), min(most, most * classes))
    real = best >= 0
    index = jnp.where(real, chosen.T.reshape(-1)[flat], 0)
    return Detections(index, jnp.where(real, flat // most, 0).astype(jnp.int32), jnp.where(real, best, 0.0), real)
