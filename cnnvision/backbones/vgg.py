"""VGG-16 (Simonyan & Zisserman 2015, "Very deep convolutional networks", table 1, column D), with or without BatchNorm.

The map of a stride is what the last convolution before the next max-pool gives (conv5_3 for stride 16, the one that Fast
and Faster R-CNN read); stride 32 is the last max-pool, which the classifier reads. A max-pool drops an odd last
row or column, so sides are rounded down at each halving, and an input under 32 pixels leaves an empty map of stride 32;
`ceil` keeps it, as the papers' own code did.

`VGG16Dilated` is the form that SSD reads (Liu et al. 2016, section 3): the two hidden layers of the classifier as
convolutions, on a map that is not halved once more.
"""

from functools import partial
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import max_pool
from cnnvision.backbones.layers import Backbone, Conv, Norm, xavier_uniform

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions in each of the five stages."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each of the five stages."""
DILATED_WIDTH = 1024
"""Channels of fc6 and fc7 in SSD (Liu et al. 2016, section 3)."""


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
        maps = self.convolutions(image, train, valid)
        return maps | {32: max_pool(maps[16], 2, 2, "SAME" if self.ceil else "VALID")}

    def convolutions(self, image: Array, train: bool, valid: Array | None) -> dict[int, Array]:
        """What the last convolution of each stage gives: stride 1 to 16."""
        maps = {}
        for i, stage in enumerate(VGG16.stages):
            image = max_pool(image, 2, 2, "SAME" if self.ceil else "VALID") if i else image
            image = Stage(i + 1, self.norm, self.dtype, name=stage)(image, self.trains(stage, train), valid)
            image = maps[2**i] = self.hold(stage, image)
        return maps


class VGG16BN(VGG16):
    """VGG-16 with a norm after each convolution."""

    norms: ClassVar[tuple[str, ...]] = ("batch", "frozen", "group")

    norm: str = "batch"


class DilatedStage(nn.Module):
    """fc6, a 3x3 convolution whose taps lie six pixels apart, and fc7, of 1x1, each with its ReLU.

    Attributes:
        width: channels of both.
        dtype: as in `Backbone`.
    """

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, image: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        conv = partial(Conv, self.width, use_bias=True, dtype=self.dtype, kernel_init=xavier_uniform)
        return jax.nn.relu(conv(1, name="fc7")(jax.nn.relu(conv(3, dilation=6, name="fc6")(image))))


class VGG16Dilated(VGG16):
    """VGG-16 as SSD reads it (Liu et al. 2016, section 3, "Base network"): the last max-pool is 3x3 and of stride 1, fc6 and
    fc7 are convolutions of 1024 channels, the first dilated. Features of stride 1, 2, 4, 8 (conv4_3), and 16 (fc7).

    Deviation: fc6 and fc7 begin as drawn, and not as every few weights of the classifier's layers (as in torchvision).

    Images are the pixels minus the mean, as in Simonyan & Zisserman's own code: of torchvision's VGG-16 weights,
    IMAGENET1K_FEATURES alone were trained so.

    Attributes:
        ceil: as in `VGG16`. (torchvision rounds up at the third max-pool alone: the same maps where the other ones see even
            sides, such as 300 and 512 pixels.)
    """

    mean: ClassVar[tuple[float, float, float]] = (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)
    std: ClassVar[tuple[float, float, float]] = (1.0, 1.0, 1.0)
    stages: ClassVar[tuple[str, ...]] = (*VGG16.stages, "fc")

    ceil: bool = True

    @property
    def channels(self) -> dict[int, int]:
        return {2**i: width for i, width in enumerate(WIDTHS[:-1])} | {16: DILATED_WIDTH}

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        maps = self.convolutions(image, train, valid)
        image = DilatedStage(DILATED_WIDTH, self.dtype, name="fc")(max_pool(maps[16], 3, 1, "torch"))
        return maps | {16: self.hold("fc", image)}
