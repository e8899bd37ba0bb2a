"""What is shown and said before the first step: the inputs, what stands for which object, what cannot be learnt."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision.ops.geometry import overlaps
from cnnvision.ops.images import on_mesh
from cnnvision.pictures import sheets
from cnnvision.pictures.matches import draw_matches
from cnnvision.task import Task
from cnnvision.training.sharding import local_rows, put_batch
from cnnvision.types import Batch

SEEN = 128
"""Training images among whose objects those are counted that a network cannot be taught."""


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


def beyond_reach(ceiling: Callable[[Batch], Any], batches: Iterable[Any]) -> str:
    """Says how many objects the network's targets cannot hold: after encoding and decoding, none of their class has an IoU
    of .5 with them.

    Args:
        ceiling: of the task.
        batches: of the training split, without augmentation.
    """
    decoded, sides, lost, images = jax.jit(ceiling), [np.zeros(0)], [np.zeros(0, bool)], 0
    for loaded in batches:
        batch, found = loaded.batch, jax.device_get(decoded(loaded.batch))
        images += int(np.count_nonzero(batch.valid))
        for row in np.flatnonzero(batch.valid):
            real = batch.target.valid[row] & ~batch.target.crowd[row]
            boxes, valid = batch.target.boxes[row, real], found.valid[row]
            same = batch.target.labels[row, real][:, None] == found.labels[row, valid][None]
            near = overlaps(boxes[:, None], found.boxes[row, valid][None]) >= 0.5
            lost.append(~np.any(same & near, axis=1))
            sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
    side, gone = np.concatenate(sides), np.concatenate(lost)
    if not gone.any():
        return f"all {len(gone)} objects of the first {images} training images can be learnt"
    return (
        f"{gone.sum()} of {len(gone)} objects of the first {images} training images ({gone.mean():.1%}) cannot be learnt: "
        f"no cell or default box is left for them. The median of their sides is {np.median(side[gone]):.0f} input pixels, "
        f"that of all {np.median(side):.0f}"
    )
