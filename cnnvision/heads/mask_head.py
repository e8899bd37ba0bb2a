"""The mask head of Mask R-CNN: which pixels of a region are its object's (He et al. 2017, section 3 and figure 4, right).

Convolutions on what RoIAlign pooled, a transposed convolution that doubles the resolution, and a 1×1 convolution to a plane
of logits for each class. Classes do not compete: each plane is a sigmoid of its own, the loss is on the plane of the true
class alone, and at prediction the box head's class names the plane. As in the box head, index 0 is the background; its plane
means nothing and is never trained; published weights have it, so it is kept.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnnvision.backbones.layers import Conv, normal
from cnnvision.errors import ConfigError
from cnnvision.heads.box_head import with_background
from cnnvision.necks.decoder import TransposedConv
from cnnvision.ops.losses import binary_cross_entropy
from cnnvision.settings import Between, Count
from cnnvision.types import Alignment


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """How regions are pooled for their masks, what the head is, and what it learns from."""

    size: Annotated[int, Between(1, 64)] = 14  # bins along each side of RoIAlign; masks have twice as many
    channels: tuple[Count, ...] = (256, 256, 256, 256)  # of the 3×3 convolutions
    # Cells along each side of an object's mask in a batch, which is cropped to the object's box. The mask AP that true masks
    # still reach as 28×28 targets, pasted, with the alignments below, coco128 at 1024 pixels: from 28 cells .946 "exact" and
    # .879 "torchvision", from 56 .982 and .902, from 112 .990 and .911.
    cells: Annotated[int, Between(1, 1024)] = 112
    chunk: Count = 20  # regions of an image that are computed at once, at most, until no positive one or detection is left
    # Where pixels lie, for targets and pasting: "exact", or by torchvision's rules, by which its published weights were
    # trained and judged; of small objects they cost much (ops/masks.py, evaluation/pasting.py).
    alignment: Alignment = "torchvision"

    def __post_init__(self):
        if not self.channels:
            raise ConfigError("channels = (): the head needs one convolution at least")


class MaskHead(nn.Module):
    """3×3 convolutions with ReLU, a transposed convolution 2×2 of stride 2 with ReLU, a 1×1 convolution.

    Attributes:
        classes: k, without the background.
        channels: of the 3×3 convolutions; the transposed one has as many as the last.
        dtype: of all but the outputs, which are float32.
    """

    classes: int
    channels: Sequence[int] = (256, 256, 256, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pooled: Float[Array, "b r s s c"]) -> Float[Array, "b r _ _ _"]:
        """What was pooled -> logits of background and classes, [b, r, 2s, 2s, 1 + k]."""
        b, r, *of_region = pooled.shape
        image = pooled.reshape(b * r, *of_region)
        for i, width in enumerate(self.channels):
            image = jax.nn.relu(Conv(width, use_bias=True, dtype=self.dtype, name=f"conv{i}")(image))
        image = jax.nn.relu(TransposedConv(image.shape[-1], self.dtype, name="up")(image))
        # No ReLU follows.
        init = normal(image.shape[-1] ** -0.5)
        logits = Conv(1 + self.classes, 1, use_bias=True, dtype=jnp.float32, kernel_init=init, name="class")(image)
        return logits.reshape(b, r, *logits.shape[1:])


def planes(logits: Float[Array, "r m m _"], labels: Int[Array, "r"]) -> Float[Array, "r m m"]:
    """The plane of each region's class, a label in [0, k), among those of background and classes."""
    index = with_background(labels, jnp.ones_like(labels, bool))
    return jnp.take_along_axis(logits, index[:, None, None, None], axis=-1)[..., 0]


def mask_loss(logits: Float[Array, "r m m _"], labels: Int[Array, "r"], targets: Float[Array, "r m m"]) -> Float[Array, "r"]:
    """Of each region the binary cross entropy on the plane of the true class, the mean over all pixels. (L_mask is the mean
    over positive regions.)

    Args:
        logits: of regions, 1 + k planes.
        labels: of the object that each stands for.
        targets: its mask within the region, 0 to 1 (`ops.masks.mask_targets`).
    """
    return jnp.mean(binary_cross_entropy(planes(logits.astype(jnp.float32), labels), targets), axis=(1, 2))


def class_masks(logits: Float[Array, "r m m _"], labels: Int[Array, "r"]) -> Float[Array, "r m m"]:
    """The mask of each detection, as probabilities, from its 1 + k planes."""
    return jax.nn.sigmoid(planes(logits.astype(jnp.float32), labels))
