"""The way back up, from the coarsest features to the finest: U-Net's expanding path, or a decoder without skips.

At each level (Ronneberger et al. 2015, section 2): upsampling by two that halves the channels ("up-convolution 2×2"),
concatenation with the features of that level, two 3×3 convolutions. Without skips, what is concatenated is left out, and
nothing else changes: the encoder–decoder.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.contracting_path import ConvolutionPair
from cnnvision.backbones.convolution import Padding, matrix_product
from cnnvision.backbones.layers import Norm, normal
from cnnvision.errors import ConfigError
from cnnvision.ops.images import centre
from cnnvision.settings import Count


@dataclasses.dataclass(frozen=True)
class DecoderSettings:
    """The way back up."""

    widths: tuple[Count, ...] | None = None  # channels of each level, coarsest first; None for as many as the backbone has
    upsampling: Literal["transposed", "bilinear"] = "transposed"  # 2×2 of stride 2; or bilinear with a 1×1 convolution
    norm: Literal["batch", "group", "none"] = "batch"

    def __post_init__(self):
        if self.widths == ():
            raise ConfigError("widths = (): must have one at least; None for as many levels as the backbone has")


class TransposedConv(nn.Module):
    """A transposed convolution 2×2 of stride 2, [b, h, w, i] -> [b, 2h, 2w, features].

    Each pixel becomes a block of two by two, by a matrix of its own for each of the four: no two blocks overlap.

    Attributes: features: output channels; dtype: of the arithmetic.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w i"]) -> Float[Array, "b _ _ o"]:
        b, h, w, i = image.shape
        # No ReLU follows, and each output has i inputs, whatever the block's size.
        kernel = self.param("kernel", normal(i**-0.5), (i, 2, 2, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        blocks = matrix_product(image.astype(self.dtype), kernel.reshape(i, -1).astype(self.dtype))
        grid = blocks.reshape(b, h, w, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)
        return grid + bias.astype(self.dtype)[None, None, None]


class BilinearUp(nn.Module):
    """Bilinear interpolation to twice the size, then a 1×1 convolution. Attributes: as in `TransposedConv`."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w i"]) -> Float[Array, "b _ _ o"]:
        # The matrix first: it works on pixels one by one, and there are four times as many of them afterwards.
        narrow = nn.Dense(self.features, dtype=self.dtype, name="narrow")(image.astype(self.dtype))
        return enlarged(narrow, 2)


def enlarged(image: Float[Array, "b h w c"], factor: int) -> Float[Array, "b _ _ c"]:
    """Bilinear interpolation to `factor` times the size; pixel centres stay where they are, edges repeat."""
    b, h, w, c = image.shape
    return jax.image.resize(image, (b, h * factor, w * factor, c), "linear") if factor > 1 else image


class Decoder(nn.Module):
    """Features by stride -> one map, of as many halvings of the largest stride as there are widths.

    Attributes:
        widths: channels of each level's output, from the coarsest level upwards.
        upsampling: "transposed" (2×2, stride 2) or "bilinear" (with a 1×1 convolution).
        skips: whether the features of each level are concatenated.
        normalized: whether features come in at one scale; if not, each map goes through a norm first. Those of pretrained
            backbones have standard deviations from 3 to 23 (EfficientNet-Lite0), beside which what comes from below, of
            about 1, would not be heard.
        padding: of the 3×3 convolutions, "torch" or "VALID"; skips are cropped to what is left.
        norm, dtype: as in `Backbone`.
    """

    widths: Sequence[int]
    upsampling: Literal["transposed", "bilinear"] = "transposed"
    skips: bool = True
    normalized: bool = True
    padding: Padding = "torch"
    norm: str = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Mapping[int, Float[Array, "b _ _ _"]], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        """`features` by stride; those of the largest stride are decoded, the others skipped to where they have a level."""
        up = {"transposed": TransposedConv, "bilinear": BilinearUp}[self.upsampling]
        stride = max(features)
        image = self._at_one_scale(features, stride, train, valid)
        for i, width in enumerate(self.widths):
            stride //= 2
            image = up(width, self.dtype, name=f"up{i}")(image)
            if self.skips and stride in features:
                skip = self._at_one_scale(features, stride, train, valid)
                image = jnp.concatenate([centre(skip, image.shape[1:3]), image], axis=-1)
            pair = ConvolutionPair(width, self.padding, self.norm, self.dtype, name=f"level{i}")
            image = pair(image, train, valid)
        return image

    def _at_one_scale(
        self, features: Mapping[int, jax.Array], stride: int, train: bool, valid: Bool[Array, "b"] | None
    ) -> jax.Array:
        if self.normalized:
            return features[stride]
        return Norm(self.norm, dtype=self.dtype, name=f"norm_stride{stride}")(features[stride], train, valid)


def last_stride(strides: Iterable[int], widths: Sequence[int]) -> int:
    """The stride of what a decoder of these widths makes of features of these strides."""
    return max(strides) >> len(widths)


def level_widths(widths: Sequence[int] | None, channels: Mapping[int, int]) -> tuple[int, ...]:
    """The channels of a decoder's levels, from the coarsest upwards.

    Args:
        widths: as the config has them, for the first halvings of the largest stride or for all, down to stride 1; None
            for all, with as many channels as the backbone has at the same stride (at finer ones, half as many each time).
        channels: the backbone's, by stride.

    Raises:
        ConfigError: more widths than halvings.
    """
    levels = max(channels).bit_length() - 1
    if widths is None:
        finest = min(channels)
        strides = [2**i for i in reversed(range(levels))]
        return tuple(channels.get(stride, max(channels[finest] * stride // finest, 8)) for stride in strides)
    if len(widths) > levels:
        raise ConfigError(
            f"config.model.decoder.widths = {tuple(widths)}: must be None or up to {levels} numbers of channels, one for "
            f"each doubling from stride {max(channels)} towards 1"
        )
    return tuple(widths)
