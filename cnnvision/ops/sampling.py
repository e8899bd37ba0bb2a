"""Balanced samples of boxes, on which a loss is computed: most boxes are background, and would drown the others."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Key

from cnnvision import types


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
