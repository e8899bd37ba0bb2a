"""Loss and gradient of every model on one device and on all; started by test_devices.py, not collected by pytest.

    python -m tests.models.gradients FOLDER [ADDRESS PROCESSES PROCESS]

Writes FOLDER/MODEL_one.npz and FOLDER/MODEL_all.npz, or, of several processes, the first one FOLDER/MODEL_processes.npz.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from cnnvision.backbones import convolution
from cnnvision.ops.images import on_mesh
from cnnvision.training.sharding import everywhere, make_mesh, put_batch
from cnnvision.training.step import loss_and_gradient, step_key
from tests.models import tasks
from tests.models.cases import CASES
from tests.models.segmenters import start

ROWS = 16


def inputs(name):
    """The task, and (params, model_state, batch) in NumPy, the same in each process. A fifth of the rows is padding."""
    task = tasks.task_of(name)
    batch = tasks.make_batch(task, rows=ROWS).replace(valid=np.arange(ROWS) % 5 < 4)
    cast = lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == np.float32 else leaf  # in float64_process.py: to float64
    return task, jax.tree.map(cast, jax.device_get((*start(task), batch)))


def computed(task, params, model_state, batch, mesh):
    """Arrays by name: gradients, state, metrics and loss of a training step on the devices of `mesh`."""
    step = lambda params, state, batch: loss_and_gradient(task, params, state, batch, step_key(0, np.int32(3)))
    share = ROWS // jax.process_count()
    rows = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    placed = jax.device_put((params, model_state), everywhere(mesh))
    run = jax.jit(on_mesh(step, mesh), out_shardings=everywhere(mesh))
    results = run(*placed, put_batch(jax.tree.map(lambda leaf: leaf[rows], batch), mesh))
    named = zip(("gradient", "state", "metrics", "loss"), results, strict=True)
    return {f"{part} {i}": np.asarray(leaf) for part, tree in named for i, leaf in enumerate(jax.tree.leaves(tree))}


def main(folder, *processes):
    """Computes, and writes what was found."""
    if processes:
        address, count, index = processes
        jax.distributed.initialize(address, int(count), int(index))
    convolution.FEW_CHANNELS = convolution.FEW_PIXELS = 0  # what CPUs do on large maps, on these small ones
    meshes = {"processes": make_mesh()} if processes else {"one": make_mesh(jax.devices()[:1]), "all": make_mesh()}
    for name in CASES:
        task, arrays = inputs(name)
        for devices, mesh in meshes.items():
            found = computed(task, *arrays, mesh)
            if jax.process_index() == 0:
                np.savez(pathlib.Path(folder) / f"{name}_{devices}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
