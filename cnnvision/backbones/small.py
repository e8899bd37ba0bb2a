"""A small residual net for tests, demos and small images: nothing to download, and quick to train on two CPU cores."""

from typing import Annotated, Any

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.layers import Backbone, Conv, Norm
from cnnvision.backbones.resnet import Layer
from cnnvision.settings import Between


class Stem(nn.Module):
    """A 3x3 convolution of stride 2 with its norm and ReLU. Attributes: as in `SmallNet`."""

    width: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        image = Conv(self.width, 3, 2, dtype=self.dtype, name="conv")(image)
        return jax.nn.relu(Norm(self.norm, dtype=self.dtype, name="norm")(image, train, valid))


class SmallNet(Backbone):
    """Features of stride 2 (the stem) and 4, 8 ... (one for each layer of basic residual blocks); odd sides round up.

    Attributes:
        width: channels of the stem and of stride 4; each later layer has twice as many.
        blocks: residual blocks in each layer.
        layers: 1 to 4; the last has stride 2^(layers + 1).
    """

    width: Annotated[int, Between(1, 4096)] = 32
    blocks: Annotated[int, Between(1, 64)] = 1
    layers: Annotated[int, Between(1, 4)] = 4

    @property
    def stages(self) -> tuple[str, ...]:
        return ("stem", *(f"layer{i + 1}" for i in range(self.layers)))

    @property
    def channels(self) -> dict[int, int]:
        return {2: self.width} | {4 * 2**i: self.width * 2**i for i in range(self.layers)}

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        features = Stem(self.width, self.norm, self.dtype, name="stem")(image, self.trains("stem", train), valid)
        maps = {2: self.hold("stem", features)}
        for stage, stride in zip(self.stages[1:], self.strides[1:], strict=True):
            layer = Layer(self.blocks, self.channels[stride], False, 2, self.norm, self.dtype, False, name=stage)
            maps[stride] = self.hold(stage, layer(maps[stride // 2], self.trains(stage, train), valid))
        return maps
