"""Regions of an image as images of their own: cut out with some context, and warped to one size.

Girshick et al. 2014 ("Rich feature hierarchies"), section 2.1 and appendix A: whatever a box's shape, it is warped to the
network's input, after it was enlarged so that `context` pixels of the result on each side show what lies around it. What
lies outside the image has the mean colour.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Samples = tuple[Int[Array, "s"], Int[Array, "s"], Float[Array, "s"], Float[Array, "s"]]


def warp(
    image: Float[Array, "h w c"],
    size: Int[Array, "2"],
    boxes: Float[Array, "r 4"],
    side: int,
    context: int = 0,
    fill: float = 0.0,
) -> Float[Array, "r s s c"]:
    """Bilinear samples at the middles of the result's pixels, without smoothing (as the published code).

    Args:
        image: of any dtype that floats; normalised, so that the mean colour is 0.
        size: (height, width) of the part of it that is image, pixels.
        boxes: x1 y1 x2 y2, input pixels; one without area shows a single point.
        side: of the results, pixels.
        context: pixels on each side of a result that show what lies around the box.
        fill: value outside the image.
    """

    def of_box(box: Float[Array, "4"]) -> Float[Array, "s s c"]:
        low_y, high_y, beyond_y, inside_y = _samples(box[1], box[3], size[0], side, context)
        low_x, high_x, beyond_x, inside_x = _samples(box[0], box[2], size[1], side, context)
        # Whole rows first: they lie together in memory.
        rows = _between(image[low_y], image[high_y], beyond_y[:, None, None])
        found = _between(rows[:, low_x], rows[:, high_x], beyond_x[None, :, None])
        inside = inside_y[:, None, None] * inside_x[None, :, None]
        return jnp.where(inside > 0, found, jnp.asarray(fill, found.dtype))

    return jax.vmap(of_box)(boxes)


def _between(low: jax.Array, high: jax.Array, share: jax.Array) -> jax.Array:
    share = share.astype(low.dtype)
    return (1 - share) * low + share * high


def _samples(start: jax.Array, stop: jax.Array, limit: jax.Array, side: int, context: int) -> Samples:
    """Along one axis: the pixels before and after each sample, how far it is beyond the first, and 1 where it is inside."""
    limit = limit.astype(jnp.float32)
    step = (stop - start) / (side - 2 * context)
    position = start + (jnp.arange(side, dtype=jnp.float32) + (0.5 - context)) * step
    inside = (position >= 0.0) & (position < limit)
    centre = jnp.clip(position - 0.5, 0.0, jnp.maximum(limit - 1.0, 0.0))
    low = jnp.floor(centre)
    high = jnp.minimum(low + 1.0, jnp.maximum(limit - 1.0, 0.0))
    return low.astype(jnp.int32), high.astype(jnp.int32), centre - low, inside.astype(jnp.float32)
