"""Which level of a feature pyramid a box is pooled from (Lin et al. 2017, "Feature pyramid networks", equation 1)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnnvision.ops.boxes import area

CANONICAL_SIZE, CANONICAL_LEVEL = 224.0, 4
"""A box as large as ImageNet's inputs goes to the level of stride 2⁴."""


def level_of(boxes: Float[Array, "*n 4"], finest: int, coarsest: int, canonical: float = CANONICAL_SIZE) -> Int[Array, "*n"]:
    """k = ⌊4 + log₂(√(w h) / 224)⌋, within the levels that there are.

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        finest, coarsest: levels; level k has stride 2ᵏ.
        canonical: side of a box of level 4, input pixels; less than 224 where inputs are smaller than COCO's.
    """
    size = jnp.sqrt(area(boxes))
    # Boxes without area are of the finest level; the small number keeps exact powers of two on their side of the floor.
    ratio = jnp.maximum(size / canonical, 2.0**-30)
    level = jnp.floor(CANONICAL_LEVEL + jnp.log2(ratio) + 1e-6)
    return jnp.clip(level, finest, coarsest).astype(jnp.int32)
