"""What every backbone is: a linen module from a normalised image to feature maps by stride, in freezable stages."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cnnvision.errors import ConfigError, nearest

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean red, green and blue of ImageNet's training images, in units of 0 ... 255."""
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Their standard deviations, in units of 0 ... 255."""


class Backbone(nn.Module):
    """Base of the backbones. A subclass defines ``__call__(image, train, valid=None) -> {stride: features}``.

    `image` is [b, h, w, 3], RGB, already (pixel - mean) / std; `train` selects the batch's statistics over the running
    ones; `valid` is bool [b], False for examples that only fill up the batch and must not enter any statistic (None: all
    are real). The map of stride s is [b, h / s, w / s, channels[s]] in `dtype`. Sides that are no multiple of the largest
    stride work too: each halving then rounds as its class says (up, or down for VGG).

    Class attributes:
        mean, std: of red, green and blue in units of 0 ... 255: what the image has to be normalised with.
        norms: the values of `norm` that the architecture knows, its own first.

    Attributes:
        dtype: of the arithmetic and of the features; parameters and statistics are always float32.
        norm: "batch", "frozen" (BatchNorm with fixed statistics, scale and bias, for pretrained weights and small batches),
            "group", or "none" where the architecture has none.
        frozen_stages: so many of the first `stages` are not trained: no gradient, and running statistics that stay.
    """

    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD
    norms: ClassVar[tuple[str, ...]] = ("batch", "frozen", "group")

    dtype: Any = jnp.float32
    norm: str = "batch"
    frozen_stages: int = 0

    def __post_init__(self):
        if self.norm not in self.norms:
            raise ConfigError(f"norm: {type(self).__name__} has no norm {self.norm!r}.{nearest(self.norm, self.norms)}")
        if self.frozen_stages not in range(len(self.stages) + 1):
            raise ConfigError(
                f"frozen_stages: {self.frozen_stages!r} must be from 0 to {len(self.stages)}: the stages of "
                f"{type(self).__name__} are {', '.join(self.stages)}"
            )
        super().__post_init__()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, from the image upwards: the top level of the parameter tree."""
        raise AttributeError(f"{type(self).__name__} must define stages")

    @property
    def channels(self) -> dict[int, int]:
        """Stride -> channels of its feature map, in increasing order of stride."""
        raise AttributeError(f"{type(self).__name__} must define channels")

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides for which there are features, in increasing order."""
        return tuple(self.channels)

    @nn.nowrap
    def trainable(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The tree of `params` with a bool at each leaf: False in frozen stages, and for scale and bias of frozen norms."""

        def mask(node: Any, free: bool) -> Any:
            if not isinstance(node, Mapping):
                return free
            free = free and not (self.norm == "frozen" and "scale" in node)
            return {name: mask(child, free) for name, child in node.items()}

        frozen = self.stages[: self.frozen_stages]
        return {stage: mask(tree, stage not in frozen) for stage, tree in params.items()}

    @nn.nowrap
    def trains(self, stage: str, train: bool) -> bool:
        """Whether `stage` is to behave as in training: `train`, unless the stage is frozen."""
        return train and stage not in self.stages[: self.frozen_stages]

    @nn.nowrap
    def hold(self, stage: str, features: jax.Array) -> jax.Array:
        """The output of `stage`; no gradient goes back through it where the stage is frozen."""
        return lax.stop_gradient(features) if stage in self.stages[: self.frozen_stages] else features
