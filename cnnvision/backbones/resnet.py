"""ResNet (He et al. 2016, "Deep residual learning for image recognition"), in the form that torchvision's weights have.

Deviation from the paper: the bottleneck's stride sits in its 3x3 convolution, not in the first 1x1 ("ResNet v1.5"), as in
torchvision and nearly all pretrained weights. Padding is torch's, so weights agree to rounding.
"""

from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import max_pool
from cnnvision.backbones.layers import Backbone, Conv, Norm
from cnnvision.errors import ConfigError
from cnnvision.settings import Between

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth -> residual blocks in each of the four layers (table 1 of the paper)."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or a bottleneck (1x1, 3x3, 1x1 with four times the width), around a shortcut.

    Attributes:
        width: channels of the 3x3 convolutions.
        bottleneck: which of the two.
        stride: of the block as a whole.
        norm, dtype: as in `Backbone`.
        zero_init: the last norm's scale starts at zero, so that the block starts as its shortcut (Goyal et al. 2017, 5.1).
        epsilon: of the norms.
    """

    width: int
    bottleneck: bool
    stride: int = 1
    norm: str = "batch"
    dtype: Any = jnp.float32
    zero_init: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        sizes = ((1, 1), (3, self.stride), (1, 1)) if self.bottleneck else ((3, self.stride), (3, 1))
        features = self.width * 4 if self.bottleneck else self.width
        norm = partial(Norm, self.norm, self.epsilon, dtype=self.dtype)
        residual = image
        for i, (size, stride) in enumerate(sizes, 1):
            last = i == len(sizes)
            residual = Conv(features if last else self.width, size, stride, dtype=self.dtype, name=f"conv{i}")(residual)
            init = nn.initializers.zeros if last and self.zero_init else nn.initializers.ones
            residual = norm(scale_init=init, name=f"norm{i}")(residual, train, valid)
            residual = residual if last else jax.nn.relu(residual)
        if self.stride != 1 or image.shape[-1] != features:
            image = Conv(features, 1, self.stride, dtype=self.dtype, name="shortcut_conv")(image)
            image = norm(name="shortcut_norm")(image, train, valid)
        return jax.nn.relu(image + residual)


class Layer(nn.Module):
    """`blocks` residual blocks, the first with the stride. Attributes: as in `ResidualBlock`."""

    blocks: int
    width: int
    bottleneck: bool
    stride: int
    norm: str
    dtype: Any
    zero_init: bool
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            options = (self.norm, self.dtype, self.zero_init, self.epsilon)
            block = ResidualBlock(self.width, self.bottleneck, stride, *options, name=f"block{i + 1}")
            image = block(image, train, valid)
        return image


class Stem(nn.Module):
    """The 7x7 convolution of stride 2 with its norm and ReLU, before the max-pool. Attributes: as in `ResidualBlock`."""

    norm: str
    dtype: Any
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ 64"]:
        image = Conv(64, 7, 2, dtype=self.dtype, name="conv")(image)
        return jax.nn.relu(Norm(self.norm, self.epsilon, dtype=self.dtype, name="norm")(image, train, valid))


class ResNet(Backbone):
    """Features of stride 2 (the stem before its max-pool) and 4 ... 32 (the four layers); odd sides round up.

    Attributes:
        depth: 18, 34, 50 or 101.
        zero_init: each residual branch starts at zero; off, as in torchvision.
        norm_epsilon: added to each norm's variance. torchvision trained its first detectors on COCO (`*_resnet50_fpn`,
            COCO_V1) with frozen norms of 0, and sets it to 0 where it loads them; all else with 1e-5.
    """

    stages: ClassVar[tuple[str, ...]] = ("stem", "layer1", "layer2", "layer3", "layer4")

    depth: int = 50
    zero_init: bool = False
    norm_epsilon: Annotated[float, Between(0, 1)] = 1e-5

    def __post_init__(self):
        if self.depth not in BLOCKS:
            raise ConfigError(f"depth: {self.depth} is no ResNet of the paper; known: {', '.join(map(str, BLOCKS))}")
        super().__post_init__()

    @property
    def channels(self) -> dict[int, int]:
        expansion = 4 if self.depth >= 50 else 1
        return {2: 64} | {4 * 2**i: 64 * 2**i * expansion for i in range(4)}

    @property
    def frozen_epsilon(self) -> float | None:
        return self.norm_epsilon if self.norm == "frozen" else None

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        features = Stem(self.norm, self.dtype, self.norm_epsilon, name="stem")(image, self.trains("stem", train), valid)
        maps = {2: self.hold("stem", features)}
        features = max_pool(maps[2], 3, 2, "torch")
        for i, blocks in enumerate(BLOCKS[self.depth]):
            stage = f"layer{i + 1}"
            options = (self.norm, self.dtype, self.zero_init, self.norm_epsilon)
            layer = Layer(blocks, 64 * 2**i, self.depth >= 50, min(i, 1) + 1, *options, name=stage)
            features = self.hold(stage, layer(features, self.trains(stage, train), valid))
            maps[4 * 2**i] = features
        return maps
