"""What is shown before the first step: the inputs, and what stands for which object."""

from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from cnnvision.ops.images import on_mesh
from cnnvision.pictures import sheets
from cnnvision.pictures.matches import draw_matches
from cnnvision.task import Task
from cnnvision.training.sharding import local_rows, put_batch
from cnnvision.types import Batch


def draw_inputs(
    folder: epath.Path, task: Task, mesh: jax.sharding.Mesh, state: Any, batch: Batch, classes: Sequence[str] | None
) -> None:
    """Draws a batch with its targets and, where the task tells, what stands for which object.

    Args:
        folder: step_0000000_inputs.png and step_0000000_matches.png are written into it.
        task, mesh: what is trained, and on which devices.
        state: parameters and model state before the first step.
        batch: the first, of this process.
        classes: names; None on processes that only compute.
    """
    if classes is not None:
        sheets.write_sheet(folder / "step_0000000_inputs.png", [(batch, None)], classes)
    if task.matches is None:
        return
    matches = jax.jit(on_mesh(task.matches, mesh))
    matched = jax.tree.map(local_rows, matches(state.params, state.model_state, put_batch(batch, mesh)))
    if classes is not None:
        sheets.write_png(folder / "step_0000000_matches.png", draw_matches(batch, matched, classes))
