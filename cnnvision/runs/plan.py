"""What a run will need, before it is begun: its step and its prediction compiled for the devices that it is meant for.

TPUs can be compiled for without having one: libtpu describes any topology (`jax.experimental.topologies`).
"""

import dataclasses
import importlib.util
import math
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from cnnvision.data.batching import empty_batch
from cnnvision.errors import ConfigError, RunError, nearest
from cnnvision.models import make_task
from cnnvision.ops.images import on_mesh
from cnnvision.programs.chips import Chip
from cnnvision.programs.compiling import Needs, needs_of
from cnnvision.runs.join import check_config, check_size
from cnnvision.storage import path_of
from cnnvision.task import DataInfo, Task
from cnnvision.training.checkpoint import with_layout
from cnnvision.training.evaluate import make_predict_step
from cnnvision.training.loop import abstract_state, compile_step
from cnnvision.training.run import Run
from cnnvision.training.sharding import make_mesh

SIDES = {"v5e": 2, "v6e": 2, "v4": 3, "v5p": 3}
"""Chip -> dimensions of its topologies."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config needs on a number of devices.

    Attributes:
        devices, hosts: how many.
        sizes: (height, width) of inputs that a step may have, each a program of its own; the largest is what is planned.
        state, network, batch: bytes of the train state, of the part of it that predicts, and of a batch, on each device.
        step, prediction: what the two programs need; a batch of `eval_batch_size` goes through the second.
    """

    devices: int
    hosts: int
    sizes: tuple[tuple[int, int], ...]
    state: int
    network: int
    batch: int
    step: Needs
    prediction: Needs

    @property
    def memory(self) -> int:
        """Bytes on each device at most; the rest of the state stays where it is while its network predicts."""
        return max(self.step.memory, self.state - self.network + self.prediction.memory)


def topology_mesh(topology: str) -> jax.sharding.Mesh:
    """The mesh of a TPU topology that need not be here, for example "v5e:4x4".

    Raises:
        ConfigError: there is no such topology. RunError: libtpu is not installed.
    """
    chip = topology.partition(":")[0]
    if importlib.util.find_spec("libtpu") is None:
        raise RunError("compiling for TPUs needs libtpu, which is not installed: pip install libtpu (no TPU is needed)")
    try:
        return make_mesh(topologies.get_topology_desc(topology, "tpu").devices)
    except Exception as error:  # what libtpu raises is of many kinds
        near = nearest(topology, known_topologies(chip)).split(" Known:")[0]
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"--topology={topology}: libtpu knows no such topology ({why}).{near} For example {known_topologies(chip)[1]}"
        ) from error


def known_topologies(chip: str) -> list[str]:
    """Some topologies of a chip, small ones first."""
    flat = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
    deep = ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
    return [f"{chip}:{sides}" for sides in (deep if SIDES[chip] == 3 else flat)]


def plan(config: ConfigDict, info: DataInfo, mesh: jax.sharding.Mesh) -> Plan:
    """Compiles what a run of a config would run on a mesh.

    Raises:
        ConfigError: a value that no run can use, such as a batch that the devices do not divide.
    """
    check_config(config, mesh.size)
    jax.config.update("jax_default_matmul_precision", config.training.matmul_precision)
    task = make_task(config, info)
    check_size(task, config)
    sizes = task.inputs.sizes
    largest = max(sizes, key=math.prod)
    task = dataclasses.replace(task, inputs=dataclasses.replace(task.inputs, sizes=(largest,)))
    run = _run(task, config, mesh)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    split = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), tree)
    state, batch = abstract_state(run), split(run.example_batch)
    stop = jax.ShapeDtypeStruct((mesh.size,), bool, sharding=rows)
    _, step = needs_of(compile_step(run, state).jitted.lower(state, batch, stop))
    predict = jax.jit(on_mesh(make_predict_step(task), mesh))
    whole = with_layout((state.best_params(), state.model_state), mesh, split_parameters=False)
    _, prediction = needs_of(predict.lower(*whole, split(empty_batch(task.inputs, config.data.eval_batch_size))))
    hosts = len({device.process_index for device in mesh.devices.flat})
    return Plan(mesh.size, hosts, sizes, on_each(state), on_each(whole), on_each(batch), step, prediction)


def _run(task: Task, config: ConfigDict, mesh: jax.sharding.Mesh) -> Run:
    """A run without data, of which nothing is run."""
    nothing: Any = None
    size = config.data.batch_size
    batch = empty_batch(task.inputs, size)
    return Run(task, config, path_of("."), mesh, batch, nothing, size, nothing, (), nothing, "")


def on_each(tree: Any) -> int:
    """Bytes of a tree of abstract arrays on each device."""
    shard = lambda leaf: leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
    return sum(map(shard, jax.tree.leaves(tree)))


def least_seconds(needs: Needs, chip: Chip, devices: int, product: str) -> dict[str, float]:
    """The least seconds of one run by each of what may bind it ("compute", "memory", "network"), at the chip's best.

    Args:
        needs: of the program.
        chip: which.
        devices: how many take part.
        product: the type of what is multiplied, "bf16" or "f32".
    """
    share = 2 * (devices - 1) / devices  # of a sum's bytes, that each device sends; it receives as many
    return {
        "compute": needs.flops / chip.flops[product],
        "memory": needs.traffic / chip.bandwidth,
        "network": 2 * share * needs.crossing / chip.network if devices > 1 else 0.0,
    }


def smaller(config: ConfigDict, made: Plan) -> list[tuple[str, Any]]:
    """(key, value) that need less memory each, the one that changes least first: of the program that needs the most."""
    parts = (2, 4, 8)
    if made.step.memory < made.memory:
        size = config.data.eval_batch_size
        return [("data.eval_batch_size", size // part) for part in parts if size % (made.devices * part) == 0]
    size, slices = config.data.batch_size, config.training.accumulate
    found = [("training.accumulate", slices * n) for n in parts if size % (made.devices * slices * n) == 0]
    if made.devices > 1 and not config.training.split_parameters:
        found.append(("training.split_parameters", True))
    return found + [("data.batch_size", size // n) for n in parts if size % (made.devices * slices * n) == 0]


def changed(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
    """A copy of a config with other values of some keys (dotted, without "config.")."""
    copy = config.copy_and_resolve_references()
    copy.update_from_flattened_dict(values)
    return copy
