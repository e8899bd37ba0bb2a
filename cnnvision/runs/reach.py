"""What of a data set a network cannot be taught."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from cnnvision.evaluation.detection_errors import verdicts_of
from cnnvision.types import Batch

SEEN = 128
"""Training images among whose objects those are counted."""


def beyond_reach(ceiling: Callable[[Batch], Any], batches: Iterable[Any]) -> str:
    """Says how many objects the network's targets cannot hold: encoded and decoded again, they are missed.

    Args:
        ceiling: of the task.
        batches: of the training split, without augmentation.
    """
    decoded, sides, lost, images = jax.jit(ceiling), [np.zeros(0)], [np.zeros(0, bool)], 0
    for loaded in batches:
        batch, found = loaded.batch, jax.device_get(decoded(loaded.batch))
        images += int(np.count_nonzero(batch.valid))
        for row in np.flatnonzero(batch.valid):
            target, prediction = jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], (batch.target, found))
            counts = ~target.crowd[target.valid]
            boxes = target.boxes[target.valid][counts]
            lost.append(verdicts_of(prediction, target).missed[counts])
            sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
    side, gone = np.concatenate(sides), np.concatenate(lost)
    if not gone.any():
        return f"all {len(gone)} objects of the first {images} training images can be learnt"
    return (
        f"{gone.sum()} of {len(gone)} objects of the first {images} training images ({gone.mean():.1%}) cannot be learnt: "
        f"nothing in the network is left to stand for them. The median of their sides is {np.median(side[gone]):.0f} input "
        f"pixels, that of all {np.median(side):.0f}"
    )
