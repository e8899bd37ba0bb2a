"""Semantic segmentation at full resolution: convolutions at constant width and height, then a 1×1 classifier on each pixel.

The plain answer to "a class for every pixel" before there were encoders and decoders: nothing is ever pooled, so nothing has
to be put back, and nothing far away is ever seen: each of n 3×3 convolutions lets a pixel see one pixel further. All
arithmetic is done on maps of the input's size, which is what makes it dear. The fully convolutional view of a classifier:
Long, Shelhamer and Darrell 2015, section 3.

Deviations: no single paper is followed. BatchNorm after each convolution is on by default.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.layers import IMAGENET_MEAN, IMAGENET_STD, Conv, Norm
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.models.pixels import PixelSettings, of_whole_images, pixel_inputs, pixel_task
from cnnvision.settings import Between, Dtype, read
from cnnvision.task import DataInfo, Task


@dataclasses.dataclass(frozen=True)
class Settings(PixelSettings):
    """`config.model`."""

    name: str = "fullres"
    width: Annotated[int, Between(1, 4096)] = 32  # channels of each convolution
    depth: Annotated[int, Between(1, 256)] = 8  # 3×3 convolutions
    norm: Literal["batch", "group", "none"] = "batch"
    dtype: Dtype = "float32"


class FullResolutionNet(nn.Module):
    """`depth` 3×3 convolutions of `width` channels, each with its norm and ReLU, then a linear layer on each pixel.

    Attributes: classes; width; depth; norm, dtype: as in `Backbone`.
    """

    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD

    classes: int
    width: int = 32
    depth: int = 8
    norm: str = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], valid: Bool[Array, "b"], train: bool) -> Float[Array, "b h w k"]:
        """Normalised images -> logits."""
        for i in range(1, self.depth + 1):
            image = Conv(self.width, use_bias=self.norm == "none", dtype=self.dtype, name=f"conv{i}")(image)
            image = jax.nn.relu(Norm(self.norm, dtype=self.dtype, name=f"norm{i}")(image, train, valid))
        return SegmentationHead(self.classes, name="head")(image)


def make_task(config: Any, info: DataInfo) -> Task:
    """The full-resolution net as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size, resize and margin.
        info: the semantic classes.
    """
    settings = read(Settings, config.model, "config.model")
    inputs = pixel_inputs(config.data, settings, info, reach=settings.depth, stride=1)
    dtype = getattr(jnp, settings.dtype)
    network = FullResolutionNet(len(info.semantic_classes), settings.width, settings.depth, settings.norm, dtype)
    return pixel_task(settings, info, inputs, of_whole_images(network, network))
