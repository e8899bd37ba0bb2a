"""Non-maximum suppression: among boxes that overlap, the best one stays. Greedy and exact, for any threshold.

Greedy: the best box stays, all that overlap it by more than the threshold go; so on with the best one left. Girshick et al.
2014, section 2.2. Boxes of equal score count in the order in which they are given.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

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

    A box stays if no better one that stays overlaps it. Greedy suppression is the unique fixed point of this equation. Each
    iteration fixes at least one more box in rank order; usually a few suffice.
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
