"""VGG-16 (Simonyan & Zisserman 2015, "Very deep convolutional networks", table 1, column D), with or without BatchNorm.

The map of a stride is what the last convolution before the next max-pool gives (conv5_3 for stride 16, the one that Fast
R-CNN, Faster R-CNN and SSD read); stride 32 is the last max-pool, which the classifier reads. A max-pool drops an odd last
row or column, so sides are rounded down at each halving, and an input under 32 pixels leaves an empty map of stride 32;
`ceil` keeps it, as the papers' own code did.
"""

from typing import Any, ClassVar

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import max_pool
from cnnvision.backbones.layers import Backbone, Conv, Norm

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions in each of the five stages."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each of the five stages."""


class Stage(nn.Module):
    """3x3 convolutions named conv<stage>_<number> as in the paper's code, each with its ReLU, and its norm before that.

    Attributes:
        number: 1 ... 5.
        norm, dtype: as in `Backbone`.
    """

    number: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b h w o"]:
        for i in range(1, CONVOLUTIONS[self.number - 1] + 1):
            name = f"{self.number}_{i}"
            image = Conv(WIDTHS[self.number - 1], use_bias=True, dtype=self.dtype, name=f"conv{name}")(image)
            image = Norm(self.norm, dtype=self.dtype, name=f"norm{name}")(image, train, valid)
            image = jax.nn.relu(image)
        return image


class VGG16(Backbone):
    """Features of stride 1, 2, 4, 8, 16 (before each max-pool) and 32 (after the last); no norm, as in the paper.

    Convolutions keep their bias beside a norm, as torchvision's do. Padding is torch's, which at stride 1 is the paper's.

    Attributes:
        ceil: max-pools keep an odd last row and column, so that sides are rounded up (300 pixels: 38 of stride 8, not 37).
    """

    norms: ClassVar[tuple[str, ...]] = ("none",)
    stages: ClassVar[tuple[str, ...]] = ("conv1", "conv2", "conv3", "conv4", "conv5")

    norm: str = "none"
    ceil: bool = False

    @property
    def channels(self) -> dict[int, int]:
        return {2**i: width for i, width in enumerate(WIDTHS)} | {32: WIDTHS[-1]}

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        maps = {}
        for i, stage in enumerate(self.stages):
            image = Stage(i + 1, self.norm, self.dtype, name=stage)(image, self.trains(stage, train), valid)
            maps[2**i] = self.hold(stage, image)
            image = max_pool(maps[2**i], 2, 2, "SAME" if self.ceil else "VALID")
        maps[32] = image
        return maps


class VGG16BN(VGG16):
    """VGG-16 with a norm after each convolution."""

    norms: ClassVar[tuple[str, ...]] = ("batch", "frozen", "group")

    norm: str = "batch"
