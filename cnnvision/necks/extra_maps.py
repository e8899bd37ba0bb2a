"""Maps of SSD: some of the backbone's, and coarser ones behind its last (Liu et al. 2016, section 2.1, "Multi-scale feature
maps for detection", and figure 2). Each coarser map is made of the one before it by a 1×1 and a 3×3 convolution, and sees
more of the image.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.layers import Conv, Norm, xavier_uniform
from cnnvision.errors import ConfigError
from cnnvision.settings import Between

ExtraMap = tuple[int, int, int, int]
"""Channels, side of the second convolution's kernel, its stride, pixels of padding on every side."""

SSD300: tuple[ExtraMap, ...] = ((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 1, 0), (256, 3, 1, 0))
"""conv8_2 to conv11_2 (figure 2): 19×19 positions become 10×10, 5×5, 3×3, 1×1."""
SSD512: tuple[ExtraMap, ...] = (
    (512, 3, 2, 1),
    (256, 3, 2, 1),
    (256, 3, 2, 1),
    (256, 3, 2, 1),
    (256, 4, 1, 1),
)
"""The authors' code for 512×512 pixels: 32×32 positions become 16×16, 8×8, 4×4, 2×2, 1×1."""

L2_SCALE = 20.0
"""What the norm of each position begins with (section 3.1)."""


@dataclasses.dataclass(frozen=True)
class ExtraMapSettings:
    """The maps behind the backbone's."""

    # Of each map: channels, side of its kernel, stride, padding in pixels. The 1×1 convolution before it has half as many
    # channels.
    maps: Annotated[tuple[ExtraMap, ...], Between(0, 4096)] = SSD300
    norm: Literal["none", "batch", "group"] = "none"  # after each of their convolutions
    # Channels of a 3×3 convolution with norm and ReLU on each map before the head sees it, for backbones whose finer maps
    # are thin (Fu et al. 2017, "DSSD", section 3.1, "Prediction module", has a residual block there); None as in the paper.
    width: Annotated[int, Between(1, 4096)] | None = None

    def __post_init__(self):
        for channels, size, stride, padding in self.maps:
            if channels < 2 or not size or not stride or padding >= size:
                raise ConfigError(
                    f"maps = {self.maps}: each must be (channels, 2 at least; side of the kernel; stride; padding, less "
                    "than the side)"
                )


class L2Norm(nn.Module):
    """Brings the vector at each position to length 1, and each channel to a learned scale (section 3.1, after Liu et al.
    2015, "ParseNet"): maps near the image have far larger values than those behind them. A vector of zeros stays, without
    gradient. Attributes: dtype: of the output."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.constant(L2_SCALE), (image.shape[-1],))
        image = image.astype(jnp.float32)
        square = jnp.sum(jnp.square(image), axis=-1, keepdims=True)
        unit = jnp.where(square > 0, image / jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return (unit * scale[None, None, None]).astype(self.dtype)


class ExtraPair(nn.Module):
    """A 1×1 convolution to half the channels and a second one, each with its norm and a ReLU.

    Attributes:
        of: the map that comes out.
        norm, dtype: as in `ExtraMaps`.
    """

    of: ExtraMap
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        channels, size, stride, padding = self.of
        conv = partial(Conv, use_bias=self.norm == "none", dtype=self.dtype, kernel_init=xavier_uniform)
        norm = partial(Norm, self.norm, dtype=self.dtype)
        image = conv(channels // 2, 1, name="conv1")(image)
        image = jax.nn.relu(norm(name="norm1")(image, train, valid))
        image = conv(channels, size, stride, padding, name="conv2")(image)
        return jax.nn.relu(norm(name="norm2")(image, train, valid))


class ExtraMaps(nn.Module):
    """Maps of a backbone -> these and coarser ones.

    Attributes:
        maps: those that are added.
        l2_norm: whether the finest map goes through `L2Norm`.
        norm: after each convolution: "none", "batch" or "group".
        width: of a convolution on each map; None for none.
        dtype: of the arithmetic.
    """

    maps: Sequence[ExtraMap] = SSD300
    l2_norm: bool = True
    norm: str = "none"
    width: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Mapping[int, Float[Array, "b _ _ _"]], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> list[Float[Array, "b _ _ _"]]:
        """Maps by stride -> a list, the finest first. (A stride would not say where the positions of the last ones lie.)

        Raises:
            ConfigError: a map would have no positions.
        """
        found = [features[stride] for stride in sorted(features)]
        last = found[-1]
        if self.l2_norm:
            found[0] = L2Norm(self.dtype, name="l2_norm")(found[0])
        for i, of in enumerate(self.maps):
            _, size, _, padding = of
            if min(sides := last.shape[1:3]) + 2 * padding < size:
                raise ConfigError(
                    f"maps[{i}] = {of}: the map before it has {sides[0]}×{sides[1]} positions, which is too few"
                )
            last = ExtraPair(of, self.norm, self.dtype, name=f"map{i}")(last, train, valid)
            found.append(last)
        if self.width is None:
            return found
        return [self._widened(i, image, train, valid) for i, image in enumerate(found)]

    def _widened(self, i: int, image: Array, train: bool, valid: Array | None) -> Array:
        conv = Conv(self.width, use_bias=self.norm == "none", dtype=self.dtype, name=f"widen{i}")
        return jax.nn.relu(Norm(self.norm, dtype=self.dtype, name=f"widen_norm{i}")(conv(image), train, valid))
