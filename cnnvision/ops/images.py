"""What is done to images on the device; and stages that treat every image by itself, such as top-k and sampling, on batches
that are split over devices.

The partitioner splits sums and convolutions over a batch by itself. Of a top-k it gathers all scores on every device first,
though no image needs another one's; a loop over images it does not split. Such stages are therefore mapped over devices by
hand, by `per_image`.
"""

import functools
from collections.abc import Callable
from functools import partial
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


def over_used(
    function: Callable[[Any, Any, Any], Any], shared: Any, rows: Any, regions: Any, used: Bool[Array, "b r"], chunk: int
) -> Any:
    """What a function gives of each region of each image, chunk by chunk, as far as regions are used.

    Shapes are static, so an image has as many regions as it may ever have; usually few of them are used. Each device
    computes as many chunks as that one of its images needs which uses most regions. The result cannot be differentiated.

    Args:
        function: (shared, rows, regions) -> a tree of arrays [b, n, ...], for n regions of each row; it closes over no
            traced value.
        shared: a tree that is the same for all rows: parameters.
        rows: a tree of arrays [b, ...].
        regions: a tree of arrays [b, r, ...]; the used ones have to be the first.
        used: which regions are used.
        chunk: how many regions of each image are computed at once, at most; all chunks have equally many.

    Returns:
        The tree, [b, r, ...]; 0 in the chunks that were not needed.
    """

    def of_device(shared, rows, regions, used):
        needed, there, part_of = _chunks(regions, used, chunk)
        look = lambda i: function(shared, rows, part_of(i)[0])
        write = lambda i, whole, part: lax.dynamic_update_slice_in_dim(whole, part, i * part.shape[1], axis=1)
        nothing = jax.tree.map(lambda x: _zeros((*there.shape, *x.shape[2:]), x.dtype, used), jax.eval_shape(look, 0))
        found = lax.fori_loop(0, needed, lambda i, found: jax.tree.map(partial(write, i), found, look(i)), nothing)
        return jax.tree.map(lambda x: x[:, : used.shape[1]], found)

    return _on_each_device(of_device, shared, rows, regions, used)


def sum_over_used(
    function: Callable[[Any, Any, Any], Array],
    shared: Any,
    maps: Any,
    rows: Any,
    regions: Any,
    used: Bool[Array, "b r"],
    chunk: int,
) -> Float[Array, ""]:
    """The sum of a function's values over all used regions, chunk by chunk as in `over_used`.

    Its gradient is computed beside the value, so that nothing is kept of a chunk but what it adds to the sums (float32), and
    the program holds one chunk, however many there may be.

    Args:
        function: ((shared, maps), rows, regions) -> float32 [b, n], for n regions of each row, finite for unused ones, too;
            it closes over no traced value.
        shared: a tree that is the same for all rows: parameters. Its gradient is summed over devices once, after all chunks.
        maps: a tree of arrays [b, ...], with a gradient.
        rows, regions, used, chunk: as in `over_used`; they have no gradient.
    """

    def added(of_chunk, kinds, rows, regions, used):
        needed, _, part_of = _chunks(regions, used, chunk)

        def add(i, sums):
            part, there = part_of(i)
            found = of_chunk(lambda learnt: jnp.sum(function(learnt, rows, part), where=there))
            return jax.tree.map(lambda total, x: total + x.astype(jnp.float32), sums, found)

        return lax.fori_loop(0, needed, add, jax.tree.map(lambda x: _zeros(x.shape, jnp.float32, used), kinds))

    of_value, of_learnt = jax.eval_shape(lambda *x: (jnp.zeros(()), x), shared, maps)

    @jax.custom_vjp
    def total(learnt, *rest):
        return added(lambda value: value(learnt), of_value, *rest)

    def forward(learnt, *rest):
        return added(lambda value: jax.value_and_grad(value)(learnt), (of_value, learnt), *rest)

    def backward(gradients, factor):
        return jax.tree.map(lambda x, kind: (factor * x).astype(kind.dtype), gradients, of_learnt), None, None, None

    total.defvjp(forward, backward)

    def of_device(shared, maps, *rest):
        # What varies over devices has a gradient on each, which is summed here, and not in each chunk.
        shared = jax.tree.map(lambda x: x + _zeros((), x.dtype, rest[-1]), shared)
        return total((shared, maps), *rest)[None]

    return jnp.sum(_on_each_device(of_device, shared, maps, rows, regions, used))


def _chunks(regions: Any, used: Bool[Array, "b r"], chunk: int) -> tuple[Int[Array, ""], Array, Callable[[Any], Any]]:
    """How many chunks have used regions; `used`, filled up to whole chunks; of a number, that chunk of (regions, used)."""
    count = used.shape[1]
    size = -(-count // -(-count // chunk))
    fill = lambda x: jnp.pad(x, [(0, 0), (0, -count % size)] + [(0, 0)] * (x.ndim - 2))
    filled = jax.tree.map(fill, (regions, used))
    needed = (jnp.max(jnp.sum(used, axis=1, dtype=jnp.int32)) + size - 1) // size
    part_of = lambda i: jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, i * size, size, axis=1), filled)
    return needed, filled[1], part_of


def _zeros(shape: tuple[Any, ...], dtype: Any, used: Array) -> Array:
    """Zeros that vary over devices as `used` does: what a loop adds to. A side may be a symbol (a batch of any size)."""
    return jnp.zeros(shape, dtype) + (0 * jnp.sum(used, dtype=jnp.int32)).astype(dtype)


def _on_each_device(function: Callable[..., Any], shared: Any, *arrays: Any) -> Any:
    """`function(*arrays)`, or `function(shared, *arrays)` where there is something shared, of each device's own rows."""
    mesh, given = jax.sharding.get_abstract_mesh(), () if shared is None else (shared,)
    # Inside such a function the axes of the mesh are manual: the rows are a device's own already.
    if mesh.empty or mesh.size == 1 or AxisType.Manual in mesh.axis_types:
        return function(*given, *arrays)
    rows = PartitionSpec(mesh.axis_names)
    specs = (*(PartitionSpec() for _ in given), *(rows for _ in arrays))
    return jax.shard_map(function, in_specs=specs, out_specs=rows)(*given, *arrays)
