"""The contracting path of U-Net (Ronneberger et al. 2015, section 2): 3×3 convolutions in pairs, 2×2 max-pooling between.

It has features of stride 1, 2, 4 …, one map a level, and so it is a backbone like any other; what makes a U-Net of it is the
decoder (necks/decoder.py). Each level has twice the channels of the one above.

Deviations, each an option: the paper pads nowhere (`padding` "valid"), and has no norms (`norm` "none"). Its dropout, "at
the end of the contracting path", is that of its published network, a rate of 0.5 after each of the two deepest levels.
"""

from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import Padding, max_pool
from cnnvision.backbones.layers import Backbone, Conv, Norm
from cnnvision.settings import Between, Dropout


class ConvolutionPair(nn.Module):
    """Two 3×3 convolutions, each with its norm (or with biases, where there is none) and a ReLU.

    Attributes:
        width: channels of both.
        padding: "torch" keeps the size, "VALID" loses two pixels at each side.
        norm, dtype: as in `Backbone`.
    """

    width: int
    padding: Padding = "torch"
    norm: str = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        for i in (1, 2):
            conv = Conv(self.width, padding=self.padding, use_bias=self.norm == "none", dtype=self.dtype, name=f"conv{i}")
            image = jax.nn.relu(Norm(self.norm, dtype=self.dtype, name=f"norm{i}")(conv(image), train, valid))
        return image


class ContractingPath(Backbone):
    """Features of stride 1, 2, 4 … 2^depth.

    Attributes:
        width: channels of stride 1; each level has twice as many as the one above.
        depth: how often is pooled.
        padding: "same" keeps the size; "valid" is the paper's, and loses pixels at each convolution.
        dropout: rate after each of the two deepest levels.
    """

    norms: ClassVar[tuple[str, ...]] = ("batch", "frozen", "group", "none")

    width: Annotated[int, Between(1, 4096)] = 64
    depth: Annotated[int, Between(1, 8)] = 4
    padding: Literal["same", "valid"] = "same"
    dropout: Dropout = 0.0

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"level{i}" for i in range(self.depth + 1))

    @property
    def channels(self) -> dict[int, int]:
        return {2**i: self.width * 2**i for i in range(self.depth + 1)}

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        padding, maps = "VALID" if self.padding == "valid" else "torch", {}
        for i, stage in enumerate(self.stages):
            image = max_pool(image, 2, 2) if i else image
            pair = ConvolutionPair(self.channels[2**i], padding, self.norm, self.dtype, name=stage)
            image = pair(image, self.trains(stage, train), valid)
            if self.dropout and i >= self.depth - 1:
                image = nn.Dropout(self.dropout, deterministic=not train)(image)
            image = self.hold(stage, image)
            maps[2**i] = image
        return maps
