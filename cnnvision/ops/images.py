"""What is done to images on the device."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8


def normalize(
    image: UInt8[Array, "b h w 3"],
    size: Int[Array, "b 2"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: Any = jnp.float32,
) -> Float[Array, "b h w 3"]:
    """(image − mean) / std, and exactly 0 in the padding.

    Args:
        image: RGB, 0 to 255.
        size: (height, width) of the part that is image; padding lies right of it and below.
        mean, std: of each channel, in units of 0 to 255.
        dtype: of the result; the arithmetic is float32.
    """
    if image.ndim != 4 or image.shape[-1] != 3:
        raise ValueError(f"normalize: expected images [b, h, w, 3], got {image.shape}")
    channels = lambda values: jnp.array(values, jnp.float32)[None, None, None]
    scaled = (image.astype(jnp.float32) - channels(mean)) / channels(std)
    rows = jnp.arange(image.shape[1])[None, :, None] < size[:, 0, None, None]
    columns = jnp.arange(image.shape[2])[None, None, :] < size[:, 1, None, None]
    return jnp.where((rows & columns)[..., None], scaled, 0.0).astype(dtype)


def centre(image: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The middle of images or maps [b, h, w, ...], `size` (rows, columns); of an odd rest the larger part goes below and
    right.
    """
    top, left = ((have - want) // 2 for have, want in zip(image.shape[1:3], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]
