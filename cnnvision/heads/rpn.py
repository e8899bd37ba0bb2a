"""Region proposal network (Ren et al. 2015, section 3.1): at each position of a feature map, and for each of its anchors, is
there an object, and where exactly.

Order of everything that is one long list: maps from the finest to the coarsest, their positions row by row, the anchors of a
position one after the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from cnnvision import types
from cnnvision.backbones.layers import Conv, normal
from cnnvision.ops import anchors as anchor_ops
from cnnvision.ops import losses
from cnnvision.ops.boxes import clip
from cnnvision.ops.deltas import decode
from cnnvision.ops.matching import match
from cnnvision.ops.nms import nms
from cnnvision.ops.sampling import sample_balanced
from cnnvision.task import Mean
from cnnvision.types import ObjectTarget

SMALLEST = 1e-3
"""Proposals with a shorter side are none, pixels: those beyond the image, after clipping, for example."""


class RegionProposalHead(nn.Module):
    """The same small network slides over every map: a 3×3 convolution, a ReLU, and two 1×1 convolutions beside each other.

    Attributes: anchors: of one position; dtype: of the arithmetic.
    """

    anchors: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Mapping[int, Float[Array, "b _ _ c"]]) -> tuple[Float[Array, "b n"], Float[Array, "b n 4"]]:
        """Maps by stride, all of one width -> objectness (logits) and deltas of each anchor, float32."""
        width = next(iter(features.values())).shape[-1]
        make = lambda outputs, size, name: Conv(
            outputs, size, use_bias=True, dtype=self.dtype, kernel_init=normal(0.01), name=name
        )
        shared = make(width, 3, "conv")
        objectness, deltas = make(self.anchors, 1, "objectness"), make(4 * self.anchors, 1, "deltas")
        found = [jax.nn.relu(shared(features[stride])) for stride in sorted(features)]
        flat = lambda layer, last: [layer(image).astype(jnp.float32).reshape(len(image), -1, *last) for image in found]
        return jnp.concatenate(flat(objectness, ()), axis=1), jnp.concatenate(flat(deltas, (4,)), axis=1)


def anchors_of(
    shapes: Mapping[int, tuple[int, int]], size: tuple[int, int], sizes: Sequence[Sequence[float]], ratios: Sequence[float]
) -> list[Float[np.ndarray, "_ 4"]]:
    """The anchors of each map, x1 y1 x2 y2 in input pixels.

    Args:
        shapes: stride -> (height, width) of the map.
        size: (height, width) of the input, pixels. As in torchvision, neighbouring positions are ⌊side / positions⌋ pixels
            apart: the stride, where it divides the side.
        sizes: of each map from the finest on, square roots of the areas of its anchors, input pixels.
        ratios: height / width.
    """
    apart = lambda shape: (size[0] // shape[0], size[1] // shape[1])
    maps = zip(sizes, (shapes[stride] for stride in sorted(shapes)), strict=True)
    return [anchor_ops.grid(anchor_ops.anchors_at(of_map, ratios), shape, apart(shape)) for of_map, shape in maps]


def rpn_terms(
    key: Key[Array, ""],
    objectness: Float[Array, "n"],
    deltas: Float[Array, "n 4"],
    anchors: Float[Array, "n 4"],
    target: ObjectTarget,
    size: Int[Array, "2"],
    *,
    number: int = 256,
    share: float = 0.5,
    positive_from: float = 0.7,
    negative_below: float = 0.3,
    beta: float = 1.0 / 9.0,
) -> dict[str, Mean]:
    """The loss of one image (section 3.1.2) on a sample of its anchors (section 3.1.3).

    Args:
        target: of this image: boxes [m, 4], labels, valid and crowd [m].
        size: (height, width) of what of the input is image, pixels. Anchors whose middle lies in the padding do not count:
            they are neither drawn nor the best that an object has.
        number, share: anchors in the sample, and how many of them are positive at most.
        positive_from, negative_below: see `match`.
        beta: of smooth L1; 1/9 in the published code.

    Returns:
        "objectness": binary cross entropy, a mean over the sample; "rpn_box": smooth L1, summed over the four deltas, of
        positive anchors, divided by all of the sample.
    """
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2.0
    inside = jnp.all(middles < size[None, ::-1].astype(jnp.float32), axis=1)
    within = jnp.where(inside[:, None], anchors, 0.0)  # a box without area overlaps nothing
    matches = match(within, target.boxes, target.valid, target.crowd, positive_from, negative_below, low_quality=True)
    sample = sample_balanced(key, matches.positive & inside, matches.negative & inside, number, share)
    logits, weights = objectness[sample.index], sample.valid.astype(jnp.float32)
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
    anchors: Sequence[Float[np.ndarray, "_ 4"]],
    size: Int[Array, "2"],
    *,
    before: int = 1000,
    most: int = 1000,
    threshold: float = 0.7,
) -> Proposals:
    """From the answers for all anchors of one image to its proposals (section 3.3, "Implementation details").

    Args:
        objectness, deltas: of all anchors.
        anchors: of each map.
        size: (height, width) of the part of the input that is image, pixels.
        before: how many of the best of each map take part in the suppression.
        most: how many proposals there are at most, of all maps together.
        threshold: IoU from which on the worse of two of one map goes.
    """
    height, width = size[0].astype(jnp.float32), size[1].astype(jnp.float32)
    boxes, scores, stays, start = [], [], [], 0
    for level in anchors:
        stop = start + len(level)
        best, index = lax.top_k(objectness[start:stop], min(before, len(level)))
        found = decode(deltas[start:stop][index], jnp.asarray(level)[index])
        rows = jnp.zeros(len(found))
        found = clip(found, rows + height, rows + width)
        valid = jnp.all(found[:, 2:] - found[:, :2] >= SMALLEST, axis=1)
        boxes.append(found)
        scores.append(jax.nn.sigmoid(best))
        stays.append(nms(found, scores[-1], valid, threshold))
        start = stop
    boxes, scores, stays = (jnp.concatenate(each) for each in (boxes, scores, stays))
    most_found = min(most, len(scores))
    scores, index = lax.top_k(jnp.where(stays, scores, -1.0), most_found)
    valid = scores >= 0
    pad = lambda array: jnp.pad(array, ((0, most - most_found), *[(0, 0)] * (array.ndim - 1)))
    return Proposals(pad(jnp.where(valid[:, None], boxes[index], 0.0)), pad(jnp.where(valid, scores, 0.0)), pad(valid))


def recalled(proposals: Float[Array, "p 4"], valid: Bool[Array, "p"], target: ObjectTarget, overlap: float = 0.5) -> Mean:
    """The share of one image's objects that some proposal overlaps enough."""
    matches = match(target.boxes, proposals, valid, jnp.zeros_like(valid), overlap, overlap)
    return Mean.of(matches.positive.astype(jnp.float32), (target.valid & ~target.crowd).astype(jnp.float32))
