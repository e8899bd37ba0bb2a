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
    return _on_each_device(jax.vmap(function), arrays)


def one_by_one(function: Callable[..., Any], *arrays: Any) -> Any:
    """`per_image`, one image after the other on each device.

    The program for an image is then the same for any number of them. (Only a device with a single image has no loop, and XLA
    may compile it otherwise: sums of a few dozen numbers are added up in another order.)
    """
    return _on_each_device(lambda *arrays: jax.lax.map(lambda images: function(*images), arrays), arrays)


def _on_each_device(mapped: Callable[..., Any], arrays: tuple[Any, ...]) -> Any:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return mapped(*arrays)
    rows = PartitionSpec(mesh.axis_names)
    return jax.shard_map(mapped, in_specs=rows, out_specs=rows)(*arrays)
