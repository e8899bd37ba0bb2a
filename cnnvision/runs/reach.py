"""What of a data set a network cannot be taught."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from cnnvision.evaluation.detection_errors import verdicts_of
from cnnvision.types import Batch

SEEN = 128
"""Training images among whose objects those are counted."""


def beyond_reach(
    ceiling: Callable[[Batch], Any], batches: Iterable[Any], fitting: Callable[[Batch], Any] | None = None
) -> str:
    """Says how many objects the network's targets cannot hold: encoded and decoded again, they are missed; how many do not
    get into a batch; and how many are held by boxes that hardly overlap them.

    Args:
        ceiling, fitting: of the task.
        batches: of the training split, without augmentation.
    """
    decoded, sides, lost, images = jax.jit(ceiling), [np.zeros(0)], [np.zeros(0, bool)], 0
    fits, near, dropped = jax.jit(fitting or (lambda batch: batch.target.valid)), [np.zeros(0, bool)], 0
    for loaded in batches:
        dropped += loaded.dropped_objects
        batch, found = loaded.batch, jax.device_get(decoded(loaded.batch))
        overlapped = jax.device_get(fits(loaded.batch))
        images += int(np.count_nonzero(batch.valid))
        for row in np.flatnonzero(batch.valid):
            target, prediction = jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], (batch.target, found))
            counts = ~target.crowd[target.valid]
            boxes = target.boxes[target.valid][counts]
            lost.append(verdicts_of(prediction, target).missed[counts])
            near.append(overlapped[row][target.valid][counts])
            sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
    side, gone = np.concatenate(sides), np.concatenate(lost)
    median = lambda which: f"{np.median(side[which]):.0f}"
    said = f"all {len(gone)} objects of the first {images} training images can be learnt"
    if gone.any():
        said = (
            f"{gone.sum()} of {len(gone)} objects of the first {images} training images ({gone.mean():.1%}) cannot be "
            f"learnt: nothing in the network is left to stand for them. The median of their sides is {median(gone)} input "
            f"pixels, that of all {np.median(side):.0f}"
        )
    if dropped:
        said += f". {dropped} more find no room in a batch (config.model.max_objects), and are not learnt"
    if (far := ~np.concatenate(near) & ~gone).any():
        said += (
            f". For {far.sum()} ({far.mean():.1%}), with a median side of {median(far)} input pixels, no box of the network "
            "is near enough to be taken for that alone: they get the nearest one. Others may fit them better "
            "(config.model.default_boxes)"
        )
    return said
