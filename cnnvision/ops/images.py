"""What is done to images on the device; and stages that treat every image by itself, such as top-k and sampling, on batches
that are split over devices.

The partitioner splits sums and convolutions over a batch by itself. Of a top-k it gathers all scores on every device first,
though no image needs another one's; a loop over images it does not split. Such stages are therefore mapped over devices by
hand, by `per_image`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8


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
    return _on_each_device(jax.vmap(function), None, *arrays)


def in_used_chunks(
    function: Callable[[Any, Any, Any], Any], shared: Any, rows: Any, regions: Any, used: Bool[Array, "b r"], chunk: int
) -> Any:
    """What a function gives of each region of each image, in chunks of regions; chunks that are not used cost nothing.

    Shapes are static, so an image has as many regions as it may ever have; usually few of them are used. A device skips each
    chunk in which none of its images has a used region. Each chunk is as large as all before it: there are few, and they
    stand one by one in the program. (On CPUs the gradient of a loop over them takes twice as long.)

    Args:
        function: (shared, rows, regions) -> a tree of arrays [b, n, ...], for some rows and n regions of each; it closes
            over no traced value.
        shared: a tree that is the same for all rows: parameters. Its gradient is summed over devices once, after all chunks.
        rows: a tree of arrays [b, ...].
        regions: a tree of arrays [b, r, ...], the used ones first.
        used: which regions are used.
        chunk: how many regions of each image the first chunk has.

    Returns:
        The tree, [b, r, ...]; 0 in the chunks that were skipped.
    """
    count = used.shape[1]
    looked = jax.jit(function)  # chunks of one size are traced once
    ends = [0, *(size for size in (chunk * 2**i for i in range(count.bit_length())) if size < count), count]

    def of_device(shared, rows, regions, used):
        # Zeros that vary over devices: what is added to them does, too, so that parameters' gradients are summed over
        # devices here, and not in each chunk.
        zero = 0.0 * jnp.sum(used, dtype=jnp.float32)
        shared, found = jax.tree.map(lambda x: x + zero.astype(x.dtype), shared), []
        for start, end in itertools.pairwise(ends):
            part = jax.tree.map(lambda x, start=start, end=end: x[:, start:end], regions)
            look = lambda part=part: looked(shared, rows, part)
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) + zero.astype(x.dtype), jax.eval_shape(look))
            found.append(lax.cond(jnp.any(used[:, start:end]), look, lambda nothing=nothing: nothing))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *found)

    return _on_each_device(of_device, shared, rows, regions, used)


def _on_each_device(function: Callable[..., Any], shared: Any, *arrays: Any) -> Any:
    """`function(*arrays)`, or `function(shared, *arrays)` where there is something shared, of each device's own rows."""
    mesh, given = jax.sharding.get_abstract_mesh(), () if shared is None else (shared,)
    # Inside such a function the axes of the mesh are manual: the rows are a device's own already.
    if mesh.empty or mesh.size == 1 or AxisType.Manual in mesh.axis_types:
        return function(*given, *arrays)
    rows = PartitionSpec(mesh.axis_names)
    specs = (*(PartitionSpec() for _ in given), *(rows for _ in arrays))
    return jax.shard_map(function, in_specs=specs, out_specs=rows)(*given, *arrays)
