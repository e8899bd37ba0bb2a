"""Stages that treat every image by itself, such as top-k and sampling, on batches that are split over devices.

The partitioner splits sums and convolutions over a batch by itself. Of a top-k it gathers all scores on every device first,
though no image needs another one's; a loop over images it does not split. Such stages are therefore mapped over devices by
hand.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec


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
