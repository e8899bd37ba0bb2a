"""Region proposal network (Ren et al. 2015, section 3.1): at each position of a feature map, and for each of its anchors, is
there an object, and where exactly. Everything but the module is for one image."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from cnnvision import types
from cnnvision.backbones.layers import Conv, normal
from cnnvision.errors import ConfigError
from cnnvision.ops import losses
from cnnvision.ops.anchors import best_of_each, concatenated, in_image
from cnnvision.ops.boxes import clip, decode
from cnnvision.ops.matching import Matches, match, match_inside, sample_balanced
from cnnvision.ops.nms import nms
from cnnvision.settings import Between, Count, Share
from cnnvision.task import Mean
from cnnvision.types import ObjectTarget

SMALLEST = 1e-3
"""Least side of a proposal, pixels; shorter ones (clipped away at the border, say) are dropped."""


@dataclasses.dataclass(frozen=True)
class AnchorSettings:
    """The anchors of each map."""

    sizes: Annotated[tuple[tuple[float, ...], ...], Between(1e-3, 10**6)] = (
        (32.0,),
        (64.0,),
        (128.0,),
        (256.0,),
        (512.0,),
    )  # of each map, square roots of areas, input pixels
    ratios: Annotated[tuple[float, ...], Between(1e-3, 10**3)] = (0.5, 1.0, 2.0)  # height / width

    def __post_init__(self):
        if not self.ratios:
            raise ConfigError("ratios = (): must have one at least")
        if len({len(of_map) for of_map in self.sizes}) != 1 or not self.sizes[0]:
            raise ConfigError(f"sizes = {self.sizes}: must be a tuple of sizes for each map, equally many for each")


@dataclasses.dataclass(frozen=True)
class RPNSettings:
    """The sample of an image's anchors that the loss is computed on (section 3.1.3)."""

    number: Count = 256  # anchors
    share: Share = 0.5  # of positive ones, at most
    positive_from: Share = 0.7  # IoU with an object from which on an anchor is positive
    negative_below: Share = 0.3  # IoU with every object below which it is background


@dataclasses.dataclass(frozen=True)
class ProposalSettings:
    """From all anchors to proposals (section 3.3, "Implementation details")."""

    before_train: Count = 2000  # the best of each map, before the suppression, in training
    most_train: Count = 2000  # the best of all maps, after it
    before: Count = 1000  # likewise, in prediction
    most: Count = 1000
    threshold: Share = 0.7  # of the suppression: IoU

    def limits(self, train: bool) -> tuple[int, int]:
        """(before, most)."""
        return (self.before_train, self.most_train) if train else (self.before, self.most)


class RegionProposalHead(nn.Module):
    """The same small network slides over every map: a 3×3 convolution, a ReLU, and two 1×1 convolutions beside each other.

    Attributes: anchors: of one position; dtype: of the arithmetic.
    """

    anchors: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Mapping[int, Float[Array, "b _ _ c"]]) -> tuple[Float[Array, "b n"], Float[Array, "b n 4"]]:
        """Maps by stride, all of one width -> objectness (logits) and deltas of each anchor, float32."""
        conv = partial(Conv, use_bias=True, dtype=self.dtype, kernel_init=normal(0.01))
        shared = conv(next(iter(features.values())).shape[-1], 3, name="conv")
        objectness, deltas = conv(self.anchors, 1, name="objectness"), conv(4 * self.anchors, 1, name="deltas")
        hidden = [jax.nn.relu(shared(features[stride])) for stride in sorted(features)]
        return concatenated([objectness(x) for x in hidden]), concatenated([deltas(x) for x in hidden], 4)


def matched(anchors: Float[Array, "n 4"], target: ObjectTarget, size: Int[Array, "2"], settings: RPNSettings) -> Matches:
    """Which anchors of one image are positive, and which negative (section 3.1.2); arguments of `rpn_terms`.

    Anchors whose centre lies in the padding are neither, nor the best that an object has.
    """
    inside = in_image(anchors, size)
    return match_inside(anchors, inside, target, settings.positive_from, settings.negative_below, low_quality=True)


def rpn_terms(
    key: Key[Array, ""],
    objectness: Float[Array, "n"],
    deltas: Float[Array, "n 4"],
    anchors: Float[Array, "n 4"],
    target: ObjectTarget,
    size: Int[Array, "2"],
    settings: RPNSettings,
    beta: float = 1.0 / 9.0,
) -> dict[str, Mean]:
    """The loss of one image (section 3.1.2) on a sample of its anchors (section 3.1.3).

    Args:
        anchors: x1 y1 x2 y2, input pixels.
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
        size: (height, width) of the part of the input that is image, pixels.
        settings: the sample.
        beta: of smooth L1; 1/9 in the published code.

    Returns:
        "objectness": binary cross entropy, a mean over the sample; "rpn_box": smooth L1, summed over the four deltas, of
        positive anchors, divided by all of the sample.
    """
    matches = matched(anchors, target, size, settings)
    sample = sample_balanced(key, matches.positive, matches.negative, settings.number, settings.share)
    weights = sample.valid.astype(jnp.float32)
    logits = objectness[sample.index]
    classes = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
    entropy = losses.cross_entropy(classes, sample.positive.astype(jnp.int32))
    boxes = target.boxes[matches.object[sample.index]]
    distance = losses.delta_loss(deltas[sample.index], boxes, anchors[sample.index], sample.positive, beta)
    return {"objectness": Mean.of(entropy, weights), "rpn_box": Mean(jnp.sum(distance), jnp.sum(weights))}


@struct.dataclass
class Proposals:
    """The best regions of an image, the best first.

    Attributes:
        boxes: float32 [p, 4] x1 y1 x2 y2, input pixels, within the image; 0 where there is none.
        scores: float32 [p], probability that there is an object; 0 where there is none.
        valid: bool [p].
    """

    boxes: types.Array
    scores: types.Array
    valid: types.Array


def propose(
    objectness: Float[Array, "n"],
    deltas: Float[Array, "n 4"],
    size: Int[Array, "2"],
    *,
    anchors: Sequence[Float[np.ndarray, "_ 4"]],
    before: int,
    most: int,
    threshold: float,
) -> Proposals:
    """From all anchors of one image to its proposals (section 3.3, "Implementation details").

    Args:
        objectness, deltas: of all anchors.
        size: (height, width) of the part of the input that is image, pixels.
        anchors: of each map, x1 y1 x2 y2, input pixels.
        before: how many of the best of each map take part in the suppression.
        most: how many proposals there are at most, of all maps together.
        threshold: IoU above which the worse of two of one map is suppressed.
    """
    height, width = size[0].astype(jnp.float32), size[1].astype(jnp.float32)
    all_anchors, boxes, scores, keep = jnp.asarray(np.concatenate(anchors)), [], [], []
    for logits, index in best_of_each(objectness, [len(of_map) for of_map in anchors], before):
        rows = jnp.zeros(len(index))
        of_map = clip(decode(deltas[index], all_anchors[index]), rows + height, rows + width)
        valid = jnp.all(of_map[:, 2:] - of_map[:, :2] >= SMALLEST, axis=1)
        boxes.append(of_map)
        scores.append(jax.nn.sigmoid(logits))
        keep.append(nms(of_map, scores[-1], valid, threshold))
    boxes, scores, keep = (jnp.concatenate(each) for each in (boxes, scores, keep))
    count = min(most, len(scores))
    scores, index = lax.top_k(jnp.where(keep, scores, -1.0), count)
    valid = scores >= 0
    pad = lambda array: jnp.pad(array, ((0, most - count), *[(0, 0)] * (array.ndim - 1)))
    return Proposals(pad(jnp.where(valid[:, None], boxes[index], 0.0)), pad(jnp.where(valid, scores, 0.0)), pad(valid))


def proposal_recall(proposals: Float[Array, "p 4"], valid: Bool[Array, "p"], target: ObjectTarget) -> Mean:
    """The share of one image's objects that some proposal overlaps by an IoU of 0.5."""
    matches = match(target.boxes, proposals, valid, jnp.zeros_like(valid), 0.5, 0.5)
    return Mean.of(matches.positive.astype(jnp.float32), (target.valid & ~target.crowd).astype(jnp.float32))
