"""EfficientNet-Lite0: EfficientNet-B0 (Tan & Le 2019, table 1) without squeeze-and-excitation, with ReLU6.

The "Lite" changes are those of the official release for mobile devices (github.com/tensorflow/tpu, efficientnet/lite), whose
ImageNet weights `cnnvision.pretrained` reads. Padding is "SAME", BatchNorm's epsilon 1e-3, its momentum 0.01 (TensorFlow's
decay of 0.99). Deviation from the paper: no stochastic depth, which helps long training from scratch only.
"""

from typing import Any, ClassVar

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.depthwise import DepthwiseConv
from cnnvision.backbones.layers import Backbone, Conv, Norm

SETTINGS = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
"""(expansion, channels, blocks, kernel side, stride of the first block) of stage 1 ... 7."""
ENDS = {2: "stage1", 4: "stage2", 8: "stage3", 16: "stage5", 32: "stage7"}
"""Stride -> the last stage that has it."""


class ConvNorm(nn.Module):
    """Convolution without bias, norm, and ReLU6 where `activate` is set.

    Attributes:
        features: output channels; 0 makes the convolution depthwise, with as many as came in.
        size, stride: of the kernel.
        activate: whether ReLU6 follows.
        norm, dtype: as in `Backbone`.
    """

    features: int
    size: int
    stride: int
    activate: bool
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        if self.features:
            image = Conv(self.features, self.size, self.stride, "SAME", dtype=self.dtype, name="conv")(image)
        else:
            image = DepthwiseConv(self.size, self.stride, "SAME", dtype=self.dtype, name="conv")(image)
        image = Norm(self.norm, 1e-3, 0.01, dtype=self.dtype, name="norm")(image, train, valid)
        return jax.nn.relu6(image) if self.activate else image


class InvertedResidual(nn.Module):
    """Expansion by 1x1, depthwise, linear projection by 1x1 (Sandler et al. 2018, section 3.4).

    Attributes:
        expansion: how many times wider the depthwise convolution is; 1 leaves the expansion out.
        features, size, stride: of the block.
        norm, dtype: as in `Backbone`.
    """

    expansion: int
    features: int
    size: int
    stride: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        shared = {"norm": self.norm, "dtype": self.dtype}
        wide = image
        if self.expansion != 1:
            wide = ConvNorm(image.shape[-1] * self.expansion, 1, 1, True, **shared, name="expand")(wide, train, valid)
        wide = ConvNorm(0, self.size, self.stride, True, **shared, name="depthwise")(wide, train, valid)
        output = ConvNorm(self.features, 1, 1, False, **shared, name="project")(wide, train, valid)
        return image + output if image.shape == output.shape else output


class Stage(nn.Module):
    """The inverted residuals of one row of `SETTINGS`. Attributes: number: 1 ... 7; norm, dtype: as in `Backbone`."""

    number: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        expansion, features, blocks, size, stride = SETTINGS[self.number - 1]
        for i in range(blocks):
            block = InvertedResidual(
                expansion, features, size, stride if i == 0 else 1, self.norm, self.dtype, name=f"block{i + 1}"
            )
            image = block(image, train, valid)
        return image


class EfficientNetLite0(Backbone):
    """Features of stride 2, 4, 8, 16, 32 with 16, 24, 40, 112, 320 channels; odd sides round up.

    Attributes:
        head_conv: stride 32 is the map of 1280 channels that the ImageNet classifier reads (1x1 convolution, norm, ReLU6).
    """

    mean: ClassVar[tuple[float, float, float]] = (127.0, 127.0, 127.0)
    std: ClassVar[tuple[float, float, float]] = (128.0, 128.0, 128.0)

    head_conv: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        names = ("stem", *(f"stage{i + 1}" for i in range(len(SETTINGS))))
        return (*names, "head_conv") if self.head_conv else names

    @property
    def channels(self) -> dict[int, int]:
        channels = {stride: SETTINGS[int(stage[-1]) - 1][1] for stride, stage in ENDS.items()}
        return channels | {32: 1280} if self.head_conv else channels

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        outputs = {}
        for stage in self.stages:
            if stage == "stem":
                module = ConvNorm(32, 3, 2, True, self.norm, self.dtype, name=stage)
            elif stage == "head_conv":
                module = ConvNorm(1280, 1, 1, True, self.norm, self.dtype, name=stage)
            else:
                module = Stage(int(stage[-1]), self.norm, self.dtype, name=stage)
            image = self.hold(stage, module(image, self.trains(stage, train), valid))
            outputs[stage] = image
        return {stride: outputs[stage] for stride, stage in ENDS.items()} | {32: image}
