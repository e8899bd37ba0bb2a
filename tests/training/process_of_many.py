"""One of several processes that compute the same loss and gradient; started by test_processes.py, not collected by pytest.

    python -m tests.training.process_of_many ADDRESS PROCESSES PROCESS FOLDER

Reads states and batches from FOLDER/state_N.npz, writes loss and gradient of each to FOLDER/found_N.npz (process 0 alone).
"""

import pathlib
import sys

import jax
import numpy as np

from cnnvision.training.sharding import everywhere, make_mesh, put_batch
from cnnvision.training.step import loss_and_gradient, step_key
from tests.training import toy

ROWS = 16


def main(address, processes, process, folder):
    """Computes, and writes what was found."""
    jax.distributed.initialize(address, int(processes), int(process))
    mesh, task, folder = make_mesh(), toy.make_task(), pathlib.Path(folder)
    assert mesh.size == 8 and len(mesh.local_devices) == 8 // int(processes)
    batch = toy.make_batch(0, ROWS)
    treedef = jax.tree.structure((*jax.eval_shape(task.init, jax.random.key(0), batch), batch))
    run = jax.jit(lambda p, s, b, n: loss_and_gradient(task, p, s, b, step_key(0, n)), out_shardings=everywhere(mesh))
    share = ROWS // int(processes)
    rows = slice(int(process) * share, (int(process) + 1) * share)
    for path in sorted(folder.glob("state_*.npz")):
        number = int(path.stem.split("_")[1])
        saved = np.load(path)
        params, model_state, batch = jax.tree.unflatten(treedef, [saved[f"leaf{i}"] for i in range(treedef.num_leaves)])
        batch = put_batch(jax.tree.map(lambda x: x[rows], batch), mesh)
        gradients, _, _, loss = run(params, model_state, batch, np.int32(number))
        if int(process) == 0:
            leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(gradients))}
            np.savez(folder / f"found_{number}.npz", loss=np.asarray(loss), **leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
