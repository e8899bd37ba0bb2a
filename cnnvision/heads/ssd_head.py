"""The head of SSD: at each position of several maps, for each of its default boxes, a class and where exactly (Liu et al.
2016, section 2.1, "Convolutional predictors for detection").

Everything but the module is for one image. Class 0 of the logits is the background, as in the box head.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnnvision.backbones.layers import Conv, xavier_uniform
from cnnvision.errors import ConfigError
from cnnvision.heads.box_head import DELTA_WEIGHTS, with_background
from cnnvision.ops import losses
from cnnvision.ops.anchors import concatenated
from cnnvision.ops.boxes import decode, encode
from cnnvision.ops.detections import DetectionSettings, detections
from cnnvision.ops.matching import Matches, hard_negatives, match_inside
from cnnvision.settings import Between, Share
from cnnvision.task import Mean
from cnnvision.types import DetectionPrediction, ObjectTarget


@dataclasses.dataclass(frozen=True)
class DefaultBoxSettings:
    """The default boxes of each map; as published for 300×300 pixels of COCO."""

    # s of each map as a share of the input's sides, and one more: a map has boxes of area s² and one of s·s′ of the next.
    scales: Annotated[tuple[float, ...], Between(1e-3, 10)] = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    # Of each map: width / height of further boxes, each beside its inverse.
    ratios: Annotated[tuple[tuple[float, ...], ...], Between(1e-3, 10**3)] = (
        (2.0,),
        (2.0, 3.0),
        (2.0, 3.0),
        (2.0, 3.0),
        (2.0,),
        (2.0,),
    )
    # Input pixels from one position of each map to the next; None: the positions divide the input evenly.
    steps: Annotated[tuple[float, ...], Between(1e-3, 10**6)] | None = (8.0, 16.0, 32.0, 64.0, 100.0, 300.0)

    def check(self, maps: int) -> None:
        """Raises ConfigError where they are not for so many maps; the message begins with the field."""
        counts = {"scales": maps + 1, "ratios": maps} | ({} if self.steps is None else {"steps": maps})
        for name, count in counts.items():
            values = getattr(self, name)
            if len(values) != count:
                one_more = ", and one more" if count > maps else ""
                raise ConfigError(f"{name} = {values}: must be {count}, one for each of {maps} maps{one_more}")

    @property
    def at_position(self) -> tuple[int, ...]:
        """How many default boxes each position of each map has."""
        return tuple(2 + 2 * len(of_map) for of_map in self.ratios)


@dataclasses.dataclass(frozen=True)
class MatchingSettings:
    """What default boxes stand for, and which of them the loss is computed on (section 2.2)."""

    positive_from: Share = 0.5  # IoU with an object from which on a box stands for it ("Matching strategy")
    negatives: Annotated[float, Between(0, 10**4)] = 3.0  # for each positive box, the hardest ("Hard negative mining")


class MapConvolutions(nn.Module):
    """A 3×3 convolution of its own on each map.

    Attributes:
        boxes: default boxes of a position, of each map.
        numbers: outputs for each of them, next to each other.
        dtype: of the arithmetic.
    """

    boxes: Sequence[int]
    numbers: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Float[Array, "b _ _ _"]]) -> Float[Array, "b n _"]:
        """Maps, the finest first -> [b, n, numbers] of all default boxes in their order, float32."""
        outputs = []
        for i, (image, boxes) in enumerate(zip(maps, self.boxes, strict=True)):
            features = boxes * self.numbers
            conv = Conv(features, use_bias=True, dtype=self.dtype, kernel_init=xavier_uniform, name=f"map{i}")
            outputs.append(conv(image))
        return concatenated(outputs, self.numbers)


class SSDHead(nn.Module):
    """Attributes: classes: k, without the background; boxes, dtype: as in `MapConvolutions`."""

    classes: int
    boxes: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Float[Array, "b _ _ _"]]) -> tuple[Float[Array, "b n _"], Float[Array, "b n 4"]]:
        """Maps, the finest first -> logits of background and classes [b, n, 1 + k], deltas, of each default box."""
        logits = MapConvolutions(self.boxes, 1 + self.classes, self.dtype, name="class")(maps)
        return logits, MapConvolutions(self.boxes, 4, self.dtype, name="box")(maps)


def matched(
    boxes: Float[Array, "n 4"], inside: Bool[Array, "n"], target: ObjectTarget, settings: MatchingSettings
) -> Matches:
    """What default boxes stand for: each object has the one that it overlaps most, and all of a high IoU.

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        inside: those that take part; the others are neither positive nor negative, nor the best that an object has.
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
        settings: see there.
    """
    return match_inside(boxes, inside, target, settings.positive_from, settings.positive_from, forced=True)


def ssd_terms(
    logits: Float[Array, "n _"],
    deltas: Float[Array, "n 4"],
    boxes: Float[Array, "n 4"],
    inside: Bool[Array, "n"],
    target: ObjectTarget,
    settings: MatchingSettings,
) -> tuple[dict[str, Mean], dict[str, Mean]]:
    """The loss of one image (section 2.2, "Training objective"), and what is measured beside it.

    Args:
        logits, deltas: of each default box, [n, 1 + k] and [n, 4].
        boxes, inside, target, settings: as in `matched`.

    Returns:
        "class": cross entropy of positive boxes and the hardest negative ones (equation 3); "box": smooth L1, summed over
        the four deltas, of positive boxes (equation 2). Both are divided by the number of positive boxes.
        "foreground_accuracy": of positive boxes; "matched_objects": the share of objects that a default box stands for.
    """
    matches = matched(boxes, inside, target, settings)
    positive = matches.positive
    labels = with_background(target.labels[matches.object], positive)
    entropy = losses.cross_entropy(logits, labels)
    hard = hard_negatives(lax.stop_gradient(entropy), positive, matches.negative, settings.negatives)
    distance = losses.delta_loss(deltas, target.boxes[matches.object], boxes, positive, 1.0, DELTA_WEIGHTS)
    count = jnp.sum(positive, dtype=jnp.float32)
    terms = {
        "class": Mean(jnp.sum(jnp.where(positive | hard, entropy, 0.0)), count),
        "box": Mean(jnp.sum(distance), count),
    }
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    reached = jnp.zeros(len(target.labels)).at[matches.object].max(positive.astype(jnp.float32))
    measured = {
        "foreground_accuracy": Mean.of(right, positive.astype(jnp.float32)),
        "matched_objects": Mean.of(reached, (target.valid & ~target.crowd).astype(jnp.float32)),
    }
    return terms, measured


def ssd_detections(
    logits: Float[Array, "n _"],
    deltas: Float[Array, "n 4"],
    boxes: Float[Array, "n 4"],
    inside: Bool[Array, "n"],
    size: Int[Array, "2"],
    settings: DetectionSettings,
) -> DetectionPrediction:
    """The detections of one image (section 3.7): the best boxes of each class, suppressed class by class.

    Args:
        logits, deltas, boxes, inside: as in `ssd_terms`.
        size: (height, width) of the part of the input that is image, pixels.
        settings: see there.
    """
    scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:]
    return detections(decode(deltas, boxes, DELTA_WEIGHTS)[:, None], scores, inside, size, settings)


def ceiling(
    boxes: Float[Array, "n 4"],
    inside: Bool[Array, "n"],
    target: ObjectTarget,
    size: Int[Array, "2"],
    classes: int,
    matching: MatchingSettings,
    settings: DetectionSettings,
) -> DetectionPrediction:
    """What a perfect head would find in one image: each default box gives just what it should learn.

    It misses the objects that no default box stands for (none touches them, or another object took the only one), and those
    that are suppressed by another one of their class. Crowds are none of its objects.

    Args:
        boxes, inside, target, matching: as in `matched`.
        size, settings: as in `ssd_detections`.
        classes: k, without the background.
    """
    matches = matched(boxes, inside, target, matching)
    labels = with_background(target.labels[matches.object], matches.positive)
    deltas = encode(target.boxes[matches.object], boxes, DELTA_WEIGHTS)
    certain = jnp.where(jax.nn.one_hot(labels, 1 + classes) > 0, 0.0, -jnp.inf)
    # All scores are the same, so that the best of a class before the suppression would be those that come first.
    return ssd_detections(certain, deltas, boxes, inside, size, dataclasses.replace(settings, candidates=None))
