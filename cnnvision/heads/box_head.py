"""The head of Fast R-CNN: what a region holds, and where exactly (Girshick 2015, figure 1 and sections 2.1 to 2.3).

Regions are boxes of one image, from whatever proposes them; the head sees what was pooled from each. Everything but the
module is for one image. Class 0 is the background here, and here alone: label + 1 (`with_background`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from cnnvision import types
from cnnvision.backbones.layers import normal
from cnnvision.ops import losses
from cnnvision.ops.boxes import clip
from cnnvision.ops.deltas import Weights, decode
from cnnvision.ops.levels import CANONICAL_SIZE
from cnnvision.ops.matching import match
from cnnvision.ops.nms import detect
from cnnvision.ops.roi_align import pyramid_roi_align, roi_align
from cnnvision.ops.roi_pool import roi_pool
from cnnvision.ops.sampling import sample_balanced
from cnnvision.task import Mean
from cnnvision.types import DetectionPrediction, ObjectTarget

DELTA_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Of the deltas that the head answers with (ops/deltas.py)."""

SMALLEST = 1e-2
"""What is found with a shorter side is nothing, pixels: boxes beyond the image, after clipping, for example."""


POOLINGS = ("max", "align")
"""RoI max pooling, as Fast R-CNN has it, or RoIAlign (ops/roi_pool.py, ops/roi_align.py)."""


def pool_regions(
    features: Mapping[int, Float[Array, "_ _ c"]],
    boxes: Float[Array, "r 4"],
    pooling: str,
    size: int,
    samples: int,
    canonical: float = CANONICAL_SIZE,
) -> Float[Array, "r s s c"]:
    """What the head sees of each box.

    Args:
        features: maps of one image by stride: one, or, for "align", those of a pyramid.
        boxes: x1 y1 x2 y2, input pixels.
        pooling: see `POOLINGS`.
        size: bins along each side.
        samples: of RoIAlign, along each side of a bin; 0 for as many as it has positions.
        canonical: see ops/levels.py.
    """
    if len(features) > 1:
        return pyramid_roi_align(features, boxes, size, samples, canonical=canonical)
    ((stride, image),) = features.items()
    return roi_pool(image, boxes, stride, size) if pooling == "max" else roi_align(image, boxes, stride, size, samples)


def with_background(labels: Int[Array, "*n"], positive: Bool[Array, "*n"]) -> Int[Array, "*n"]:
    """Classes in [0, k) -> places in a softmax of k + 1, of which the first is the background, where not `positive`."""
    return jnp.where(positive, labels + 1, 0)


class BoxHead(nn.Module):
    """Fully connected layers with ReLU; beside each other on the last, a softmax over classes and a box for each of them.

    Attributes:
        classes: k, without the background.
        hidden: widths of the fully connected layers.
        dropout: rate after each of them.
        dtype: of the hidden layers; the outputs are float32.
    """

    classes: int
    hidden: Sequence[int] = (1024, 1024)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "b r s s c"], train: bool
    ) -> tuple[Float[Array, "b r _"], Float[Array, "b r _ 4"]]:
        """What was pooled -> logits of background and classes [b, r, 1 + k], deltas of each [b, r, 1 + k, 4].

        The background's deltas mean nothing; published weights have them, so they are kept.
        """
        x = pooled.reshape(*pooled.shape[:2], -1).astype(self.dtype)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        for i, width in enumerate(self.hidden):
            rectified = normal((2.0 / x.shape[-1]) ** 0.5)
            x = drop(jax.nn.relu(nn.Dense(width, dtype=self.dtype, kernel_init=rectified, name=f"hidden{i}")(x)))
        # Standard deviations of section 2.3, "SGD hyper-parameters".
        last = lambda outputs, deviation, name: nn.Dense(
            outputs, dtype=jnp.float32, kernel_init=normal(deviation), name=name
        )(x.astype(jnp.float32))
        deltas = last(4 * (1 + self.classes), 0.001, "box")
        return last(1 + self.classes, 0.01, "class"), deltas.reshape(*deltas.shape[:2], -1, 4)


@struct.dataclass
class RegionSample:
    """The regions of one image that a loss is computed on.

    Attributes:
        boxes: float32 [s, 4] x1 y1 x2 y2, input pixels; 0 where nothing was left to draw.
        object: int32 [s], the object that a positive region stands for.
        positive: bool [s].
        valid: bool [s], drawn at all.
    """

    boxes: types.Array
    object: types.Array
    positive: types.Array
    valid: types.Array


def sample_regions(
    key: Key[Array, ""],
    proposals: Float[Array, "p 4"],
    valid: Bool[Array, "p"],
    target: ObjectTarget,
    *,
    number: int,
    share: float,
    positive_from: float = 0.5,
    negative_from: float = 0.0,
    negative_below: float = 0.5,
) -> RegionSample:
    """Draws regions to learn from (section 2.3, "Mini-batch sampling"), among proposals and the objects' own boxes.

    Args:
        key: of this image.
        proposals: x1 y1 x2 y2, input pixels; they are constants of the loss.
        valid: proposals that there are.
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
        number, share: regions in the sample, and how many of them are positive at most.
        positive_from: IoU with an object from which on a region stands for it.
        negative_from, negative_below: greatest IoU with any object at which a region is background.
    """
    regions = lax.stop_gradient(jnp.concatenate([proposals, target.boxes]))
    there = jnp.concatenate([valid, target.valid & ~target.crowd])
    matches = match(regions, target.boxes, target.valid, target.crowd, positive_from, negative_below)
    negative = matches.negative & (matches.overlap >= negative_from)
    sample = sample_balanced(key, matches.positive & there, negative & there, number, share)
    boxes = jnp.where(sample.valid[:, None], regions[sample.index], 0.0)
    return RegionSample(boxes, matches.object[sample.index], sample.positive, sample.valid)


def box_head_terms(
    logits: Float[Array, "s _"],
    deltas: Float[Array, "s _ 4"],
    sample: RegionSample,
    target: ObjectTarget,
    *,
    beta: float = 1.0,
) -> dict[str, Mean]:
    """The loss of one image on a sample of its regions (section 2.3, "Multi-task loss").

    Args:
        logits, deltas: of the sample's regions, [s, 1 + k] and [s, 1 + k, 4].
        target: of this image.
        beta: of smooth L1; 1 in the paper.

    Returns:
        "class": cross entropy (equation 1's first term), "box": smooth L1 summed over the four deltas of the true class, of
        positive regions (its second). Both are divided by the number of all regions in the sample.
    """
    labels = with_background(target.labels[sample.object], sample.positive)
    weights = sample.valid.astype(jnp.float32)
    of_class = jnp.take_along_axis(deltas, labels[:, None, None], axis=1)[:, 0]
    boxes = target.boxes[sample.object]
    distance = losses.delta_loss(of_class, boxes, sample.boxes, sample.positive, beta, DELTA_WEIGHTS)
    box = Mean(jnp.sum(distance), jnp.sum(weights))
    return {"class": Mean.of(losses.cross_entropy(logits, labels), weights), "box": box}


def box_head_accuracy(logits: Float[Array, "s _"], sample: RegionSample, target: ObjectTarget) -> dict[str, Mean]:
    """ "region_accuracy": of all regions; "foreground_accuracy": of positive ones."""
    labels = with_background(target.labels[sample.object], sample.positive)
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    of = lambda which: Mean.of(right, which.astype(jnp.float32))
    return {"region_accuracy": of(sample.valid), "foreground_accuracy": of(sample.positive)}


def find(
    logits: Float[Array, "r _"],
    deltas: Float[Array, "r _ 4"],
    regions: Float[Array, "r 4"],
    valid: Bool[Array, "r"],
    size: Int[Array, "2"],
    *,
    score_above: float = 0.05,
    threshold: float = 0.5,
    most: int = 100,
) -> DetectionPrediction:
    """From the head's answers to the objects of one image (section 2.2 and Girshick et al. 2014, section 2.2).

    Args:
        logits, deltas: [r, 1 + k] and [r, 1 + k, 4].
        regions: x1 y1 x2 y2, input pixels.
        valid: regions that there are.
        size: (height, width) of the part of the input that is image, pixels.
        score_above: what scores no higher is left out.
        threshold: IoU above which the worse of two boxes of one class goes.
        most: detections of an image.

    Returns:
        boxes [most, 4], labels, scores and valid [most]; 0 where there is nothing.
    """
    scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:]
    boxes = decode(deltas[:, 1:], jnp.broadcast_to(regions[:, None], (*scores.shape, 4)), DELTA_WEIGHTS)
    limits = {"score_above": score_above, "threshold": threshold, "most": most}
    return find_boxes(boxes, scores, valid, size, **limits)


def find_boxes(
    boxes: Float[Array, "r k 4"],
    scores: Float[Array, "r k"],
    valid: Bool[Array, "r"],
    size: Int[Array, "2"],
    *,
    score_above: float,
    threshold: float,
    most: int,
) -> DetectionPrediction:
    """The last steps of `find`: boxes, one for each class, are clipped to the image and suppressed class by class.

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        scores: of each class, without the background.
        valid, size, score_above, threshold, most: as for `find`.
    """
    height, width = (jnp.broadcast_to(side.astype(jnp.float32), scores.shape) for side in size)
    boxes = clip(boxes, height, width)
    whole = jnp.all(boxes[..., 2:] - boxes[..., :2] >= SMALLEST, axis=-1)
    found = detect(boxes, scores, (scores > score_above) & whole & valid[:, None], threshold, most)
    chosen = jnp.where(found.valid[:, None], boxes[found.index, found.labels], 0.0)
    return DetectionPrediction(chosen, found.labels, found.scores, found.valid)
