"""The head of Fast R-CNN: what a region holds, and where exactly (Girshick 2015, figure 1 and sections 2.1 to 2.3).

Regions are boxes of one image, from whatever proposes them; the head sees what was pooled from each. Everything but the
module is for one image. Class 0 is the background here and in the mask head alone: label + 1 (`with_background`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from cnnvision import types
from cnnvision.backbones.layers import normal
from cnnvision.errors import ConfigError
from cnnvision.ops import losses
from cnnvision.ops.boxes import Weights, decode
from cnnvision.ops.matching import match, sample_balanced
from cnnvision.ops.roi_align import CANONICAL_SIZE, pyramid_roi_align, roi_align
from cnnvision.ops.roi_pool import roi_pool
from cnnvision.settings import Between, Count, Dropout, Share
from cnnvision.task import Mean
from cnnvision.types import ObjectTarget

DELTA_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Of the deltas that the head predicts (ops/boxes.py)."""


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """Which regions of an image the loss is computed on (section 2.3, "Mini-batch sampling")."""

    number: Count = 512  # regions of an image
    share: Share = 0.25  # of positive ones, at most
    positive_from: Share = 0.5  # IoU with an object from which on a region is positive
    negative_from: Share = 0.0  # a region is background if its greatest IoU with an object is from this …
    negative_below: Share = 0.5  # … to below this

    def __post_init__(self):
        if self.negative_from >= self.negative_below:
            raise ConfigError(f"negative_from = {self.negative_from}: must be below negative_below = {self.negative_below}")


@dataclasses.dataclass(frozen=True)
class RegionSettings(SamplingSettings):
    """How regions are pooled, what the head is, and its loss."""

    pooling: Literal["align", "max"] = "align"  # RoIAlign, or RoI max pooling of one map
    size: Annotated[int, Between(1, 64)] = 7  # bins along each side
    samples: Annotated[int, Between(1, 64)] | None = 2  # of RoIAlign, a side of a bin; None for as many as it has positions
    canonical: Annotated[float, Between(1, 10**6)] = CANONICAL_SIZE  # side of a box of the pyramid's stride 16, input pixels
    hidden: tuple[Count, ...] = (1024, 1024)  # widths of the fully connected layers
    dropout: Dropout = 0.0
    beta: Annotated[float, Between(1e-6, 10**6)] = 1.0 / 9.0  # where smooth L1 of the box bends; 1 in Fast R-CNN


def pool_regions(
    features: Mapping[int, Float[Array, "_ _ c"]], boxes: Float[Array, "r 4"], settings: RegionSettings
) -> Float[Array, "r s s c"]:
    """What the head sees of each box x1 y1 x2 y2, input pixels. `features` are maps of one image by stride: one, or, for
    "align", those of a pyramid."""
    size, samples = settings.size, settings.samples
    if len(features) > 1:
        return pyramid_roi_align(features, boxes, size, samples, canonical=settings.canonical)
    ((stride, image),) = features.items()
    if settings.pooling == "max":
        return roi_pool(image, boxes, stride, size)
    return roi_align(image, boxes, stride, size, samples)


def with_background(labels: Int[Array, "*n"], positive: Bool[Array, "*n"]) -> Int[Array, "*n"]:
    """Classes in [0, k) -> indices among k + 1 outputs, of which the first is the background, where not `positive`."""
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
        x = x.astype(jnp.float32)
        # Standard deviations of section 2.3, "SGD hyper-parameters".
        logits = nn.Dense(1 + self.classes, dtype=jnp.float32, kernel_init=normal(0.01), name="class")(x)
        deltas = nn.Dense(4 * (1 + self.classes), dtype=jnp.float32, kernel_init=normal(0.001), name="box")(x)
        return logits, deltas.reshape(*deltas.shape[:2], -1, 4)


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
    settings: SamplingSettings,
) -> RegionSample:
    """Draws regions to learn from (section 2.3, "Mini-batch sampling"), among proposals and the objects' own boxes.

    Args:
        key: of this image.
        proposals: x1 y1 x2 y2, input pixels; they are constants of the loss.
        valid: proposals that there are.
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
    """
    regions = lax.stop_gradient(jnp.concatenate([proposals, target.boxes]))
    there = jnp.concatenate([valid, target.valid & ~target.crowd])
    matches = match(regions, target.boxes, target.valid, target.crowd, settings.positive_from, settings.negative_below)
    negative = matches.negative & (matches.overlap >= settings.negative_from)
    sample = sample_balanced(key, matches.positive & there, negative & there, settings.number, settings.share)
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


def class_boxes_and_scores(
    logits: Float[Array, "r _"], deltas: Float[Array, "r _ 4"], regions: Float[Array, "r 4"]
) -> tuple[Float[Array, "r k 4"], Float[Array, "r k"]]:
    """From the head's outputs on regions x1 y1 x2 y2, input pixels, to a box and a score for each class, without background:
    what ops/detections.py takes."""
    scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:]
    return decode(deltas[:, 1:], jnp.broadcast_to(regions[:, None], (*scores.shape, 4)), DELTA_WEIGHTS), scores
