"""A step that was not finite: its batch on disk, and which number broke first."""

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from cnnvision.errors import RunError
from cnnvision.installation import typed
from cnnvision.ops.images import on_mesh
from cnnvision.storage import path_of, write_whole
from cnnvision.task import Task
from cnnvision.training.checkpoint import Checkpoints
from cnnvision.training.state import TrainState
from cnnvision.training.step import loss_and_gradient, step_key
from cnnvision.types import Batch


def save_failure(workdir: epath.PathLike, step: int, batch: Batch) -> epath.Path:
    """Writes this process's rows of a batch to `failure/step_N_process_I.npz`, one array a field, and returns the path."""
    path = path_of(workdir) / "failure" / f"step_{step}_process_{jax.process_index()}.npz"
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{jax.tree_util.keystr(key).strip("."): np.asarray(leaf) for key, leaf in leaves})
    write_whole(path, buffer.getvalue())
    return path


def fail(run: Any, state: TrainState, checkpoints: Checkpoints, info: dict[str, Any]) -> None:
    """Saves the last good state of a `Run` and the batch that failed; raises a RunError with the command that replays
    it."""
    step = int(state.step)
    checkpoints.save(state.replace(failed=jnp.zeros_like(state.failed)), info, None)
    checkpoints.close()
    batch = next(iter(run.train_batches(step, step + 1))).batch
    file = save_failure(run.workdir, step, batch)
    raise RunError(
        f"step {step}: the loss or its gradient is not finite. The state before it is saved, and its batch is in {file}. "
        f"To look at it: {typed(f'replay --workdir={run.workdir} --step={step}')}"
    )


def not_finite(tree: Any) -> list[str]:
    """`path: how many of how many` for each leaf that holds a NaN or an infinity."""
    found = []
    for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
        bad = int(np.sum(~np.isfinite(np.asarray(leaf, np.float32))))
        if bad:
            found.append(f"{jax.tree_util.keystr(key)}: {bad} of {leaf.size} numbers are not finite")
    return found


def replay(
    task: Task, params: Any, model_state: Any, batch: Batch, mesh: Mesh, seed: int, step: int, accumulate: int
) -> list[str]:
    """Runs one step's loss and gradient again and says what was found, a line each.

    Args:
        params, model_state: before the step.
        batch: the global batch of the step, on the devices of `mesh`.
        seed, step, accumulate: as in the run, so that the same random numbers are drawn.
    """
    run = lambda p, s, b: loss_and_gradient(task, p, s, b, step_key(seed, np.int32(step)), accumulate)
    gradients, new_state, metrics, loss = jax.jit(on_mesh(run, mesh))(params, model_state, batch)
    lines = [f"loss {float(loss)}"]
    lines += [f"{name} {float(mean.value())}" for name, mean in metrics.items()]
    lines += [f"parameters{line}" for line in not_finite(params)]
    lines += [f"gradients{line}" for line in not_finite(gradients)] or ["all gradients are finite"]
    lines += [f"model state{line}" for line in not_finite(new_state)]
    return lines
