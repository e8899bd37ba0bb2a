"""Where arrays live: one mesh with a `data` axis over all devices of all hosts.

A batch is split over the axis; parameters are on every device, or, when asked, split over the same axis. The program is the
same in all cases: `jax.jit` reads the layout from its arguments and inserts the collectives.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnnvision.errors import ConfigError
from cnnvision.types import Batch

LEAST_SPLIT = 2**14
"""Leaves with fewer numbers stay on every device: splitting them costs more than it saves."""


def make_mesh(devices: Any = None) -> Mesh:
    """A mesh of all devices (or those given) along one axis, `data`."""
    return Mesh(np.array(jax.devices() if devices is None else devices), ("data",))


def everywhere(mesh: Mesh) -> NamedSharding:
    """The layout of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(batch_size: int, devices: int, accumulate: int = 1, key: str = "config.data.batch_size") -> None:
    """Raises ConfigError where `batch_size` cannot be split evenly into `accumulate` slices over a number of devices."""
    parts = devices * accumulate
    if batch_size < 1 or batch_size % parts:
        nearest = max(parts, round(batch_size / parts) * parts)
        slices = f" × {accumulate} accumulated slices" if accumulate > 1 else ""
        raise ConfigError(f"{key}: {batch_size} is no multiple of {devices} devices{slices}; {nearest} would be")


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """This process's rows of a batch (NumPy) -> the global batch, split over the mesh along the first axis of each leaf."""
    layout = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(layout, x), batch)


def state_layout(state: Any, mesh: Mesh, split_parameters: bool, least: int = LEAST_SPLIT) -> Any:
    """The sharding of each leaf of a train state (arrays or their abstract shapes).

    Args:
        split_parameters: False: every device holds everything. True: each leaf of at least `least` numbers is split over
            the `data` axis along its largest dimension that the number of devices divides.
    """

    def layout(leaf):
        if split_parameters and leaf.size >= least:
            sides = [side if side % mesh.size == 0 else 0 for side in leaf.shape]
            if max(sides, default=0):
                axis = int(np.argmax(sides))
                return NamedSharding(mesh, PartitionSpec(*([None] * axis), "data"))
        return everywhere(mesh)

    return jax.tree.map(layout, state)


def check_split(state: Any, mesh: Mesh, least: int = LEAST_SPLIT) -> None:
    """Raises ConfigError where a state has leaves of at least `least` numbers, and `state_layout` can split none of them."""
    large = [leaf for leaf in jax.tree.leaves(state) if leaf.size >= least]
    if large and not any(side % mesh.size == 0 for leaf in large for side in leaf.shape):
        raise ConfigError(
            f"config.training.split_parameters: no side of the {len(large)} large arrays of this network is a multiple of "
            f"{mesh.size} devices, so none is split. Take another number of devices (a power of two, mostly), or False"
        )


def local_rows(x: jax.Array) -> np.ndarray:
    """The rows that this process has of an array that is split along its first axis, each once, in their order."""
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    unique = {(shard.index[0].start or 0): np.asarray(shard.data) for shard in shards}
    return np.concatenate(list(unique.values()))


def gather(tree: Any) -> Any:
    """The whole of each array, NumPy, on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def from_first(tree: Any, like: Any) -> Any:
    """Host arrays of the first process -> the same on all, placed as the arrays of `like`."""
    tree = tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)
    put = lambda x, old: jax.make_array_from_callback(old.shape, old.sharding, lambda index: np.asarray(x)[index])
    return jax.tree.map(put, tree, like)
