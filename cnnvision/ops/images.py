"""What is done to images on the device; and stages that treat every image by itself, such as top-k and sampling, on batches
that are split over devices.

The partitioner splits sums and convolutions over a batch by itself. Of a top-k it gathers all scores on every device first,
though no image needs another one's; a loop over images it does not split. Such stages are therefore mapped over devices by
hand, by `per_image`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
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


def on_mesh(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The function, to be jitted, with the mesh known to every `per_image` inside it."""

    @functools.wraps(function)
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def per_image(function: Callable[..., Any], *arrays: Any) -> Any:
    """`jax.vmap(function)(*arrays)`, in which each device maps its own rows and nothing moves between devices.

    Where no mesh is known (outside `on_mesh`), or where it has one device, it is the `vmap` alone: the same numbers.

    Args:
        function: of one image; it closes over no traced value.
        arrays: trees of arrays with a first axis of images, which the devices of the mesh divide evenly.
    """
    mapped, mesh = jax.vmap(function), jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return mapped(*arrays)
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(mapped, in_specs=rows, out_specs=rows)(*arrays)
