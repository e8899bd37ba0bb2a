"""The first twenty convolutions of YOLO's network (Redmon et al. 2016, "You only look once", figure 3).

They are inspired by GoogLeNet: 1×1 convolutions that narrow the map, each followed by a 3×3 one, in place of inception
modules. A classifier learns them at 224×224 pixels (section 2.2); YOLO goes on from their last map with four convolutions
more (heads/grid_head.py). Leaky ReLU everywhere (equation 2).

No norm, as in the paper; "batch" is what the authors' code has (Darknet, cfg/yolov1.cfg).
"""

from typing import Any, ClassVar

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import max_pool
from cnnvision.backbones.layers import Backbone, Conv, Norm

LEAK = 0.1
"""Slope of the leaky ReLU below zero (section 2.2, equation 2)."""

CONVOLUTIONS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((64, 7),),
    ((192, 3),),
    ((128, 1), (256, 3), (256, 1), (512, 3)),
    (*((256, 1), (512, 3)) * 4, (512, 1), (1024, 3)),
    ((512, 1), (1024, 3)) * 2,
)
"""(channels, side of the kernel) of the convolutions before each max-pool, and of those after the last."""


def leaky_relu(x: Array) -> jax.Array:
    """x where it is positive, else 0.1 x."""
    return jax.nn.leaky_relu(x, LEAK)


class Stage(nn.Module):
    """Convolutions named conv<stage>_<number>, each with its norm and leaky ReLU.

    Attributes:
        number: 1 ... 5; the first convolution of the first stage has stride 2.
        norm, dtype: as in `Backbone`.
    """

    number: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w i"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ o"]:
        for i, (channels, size) in enumerate(CONVOLUTIONS[self.number - 1], 1):
            name, stride = f"{self.number}_{i}", 2 if self.number == 1 else 1
            bias = self.norm == "none"
            image = Conv(channels, size, stride, use_bias=bias, dtype=self.dtype, name=f"conv{name}")(image)
            image = leaky_relu(Norm(self.norm, dtype=self.dtype, name=f"norm{name}")(image, train, valid))
        return image


class DarknetV1(Backbone):
    """Features of stride 2, 4, 8, 16 (before each max-pool) and 32; a max-pool drops an odd last row or column."""

    mean: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)
    std: ClassVar[tuple[float, float, float]] = (255.0, 255.0, 255.0)
    norms: ClassVar[tuple[str, ...]] = ("none", "batch", "frozen", "group")
    stages: ClassVar[tuple[str, ...]] = ("conv1", "conv2", "conv3", "conv4", "conv5")

    norm: str = "none"

    @property
    def channels(self) -> dict[int, int]:
        return {2 ** (i + 1): stage[-1][0] for i, stage in enumerate(CONVOLUTIONS)}

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        maps = {}
        for i, stage in enumerate(self.stages):
            if i:
                image = max_pool(image, 2, 2)
            image = Stage(i + 1, self.norm, self.dtype, name=stage)(image, self.trains(stage, train), valid)
            image = maps[2 ** (i + 1)] = self.hold(stage, image)
        return maps
