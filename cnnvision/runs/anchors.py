"""Anchors fitted to the boxes of a data set, and how well anchors reach them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans

from cnnvision.ops.geometry import overlaps
from cnnvision.task import Task

ENOUGH = (0.5, 0.7)
"""Overlaps (IoU): from the second on, an anchor stands for an object by itself (Ren et al. 2015, section 3.1.2)."""


@dataclasses.dataclass(frozen=True)
class Reach:
    """How well anchors reach the objects of a data set.

    Attributes:
        objects: how many there are.
        mean: of the largest IoU with an anchor.
        shares: of the objects with an anchor of at least each IoU in `ENOUGH`.
    """

    objects: int
    mean: float
    shares: tuple[float, ...]


def fit(boxes: Float[np.ndarray, "n 4"], maps: int, ratios: int) -> tuple[list[float], list[float]]:
    """Sizes and ratios of anchors by k-means of a data set's boxes (Redmon and Farhadi 2017, "YOLO9000", section 2).

    There the clusters are free pairs of width and height; here anchors are sizes × ratios, so that each of the two is
    clustered by itself, by its logarithm.

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        maps: of the network: one size for each, the smallest for the finest.
        ratios: how many.

    Returns:
        sizes (square roots of areas, pixels) and ratios (height / width), in ascending order; fewer where the boxes differ
        in fewer.
    """
    sides = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3))
    return _centres(sides.mean(axis=1), maps), _centres(sides[:, 1] - sides[:, 0], ratios)


def _centres(values: Float[np.ndarray, "n"], count: int) -> list[float]:
    count = min(count, len(np.unique(np.round(values, 6))))
    found = KMeans(count, n_init=10, random_state=0).fit(values[:, None])
    return sorted(float(np.exp(centre)) for centre in found.cluster_centers_[:, 0])


def boxes_of(batch: Any) -> list[Float[np.ndarray, "n 4"]]:
    """Of each image the boxes of its objects that are no crowds, x1 y1 x2 y2 in input pixels."""
    counts = np.asarray(batch.target.valid) & ~np.asarray(batch.target.crowd) & np.asarray(batch.valid)[:, None]
    return [boxes[row] for boxes, row in zip(np.asarray(batch.target.boxes, np.float64), counts, strict=True)]


def reach(task: Task, batches: Iterable[Any]) -> Reach:
    """How well a network's anchors, at their positions, reach the objects of some batches.

    Args:
        task: has `matches`, which tells its anchors.
        batches: of examples without augmentation.
    """
    anchors_of = jax.jit(lambda params, model_state, batch: task.matches(params, model_state, batch)["anchors"].boxes[0])
    network, best = None, [np.zeros(0)]
    for batch in batches:
        if network is None:
            # Anchors depend on the shapes of the maps alone: zeros do, and the compiler leaves the network out.
            shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
            network = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        anchors = np.asarray(anchors_of(*network, batch), np.float64)
        best += [overlaps(boxes[:, None], anchors[None]).max(axis=1) for boxes in boxes_of(batch) if len(boxes)]
    found = np.concatenate(best)
    return Reach(len(found), float(found.mean()), tuple(float((found >= least).mean()) for least in ENOUGH))
