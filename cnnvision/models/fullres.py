"""Semantic segmentation at full resolution: convolutions at constant width and height, then a 1×1 classifier on each pixel.

The plain answer to "a class for every pixel" before there were encoders and decoders: nothing is ever pooled, so nothing has
to be put back, and nothing far away is ever seen: each of n 3×3 convolutions lets a pixel see one pixel further. All
arithmetic is done on maps of the input's size, which is what makes it dear. The fully convolutional view of a classifier:
Long, Shelhamer and Darrell 2015, section 3.

Deviations: no single paper is followed. BatchNorm after each convolution is on by default.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cnnvision.backbones import read_dtype
from cnnvision.backbones.layers import IMAGENET_MEAN, IMAGENET_STD, Conv, Norm
from cnnvision.errors import check_name, check_range
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.heads.segmentation import (
    SegmentationHead,
    background_of,
    predict_labels,
    segmentation_metrics,
    segmentation_terms,
)
from cnnvision.models.binding import bind, normalized
from cnnvision.models.pixel_inputs import pixel_inputs
from cnnvision.task import DataInfo, Loss, LossAux, Task

NORMS = ("batch", "group", "none")


class FullResolutionNet(nn.Module):
    """`depth` 3×3 convolutions of `width` channels, each with its norm and ReLU, then a linear layer on each pixel.

    Attributes: classes; width; depth; norm: one of `NORMS`; dtype: of the arithmetic.
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
        config: `model` holds width, depth, norm, dtype, loss, tta; `data` holds size, resize and margin.
        info: the semantic classes.
    """
    model = config.model
    check_range("config.model.width", model.width, 1, 4096)
    check_range("config.model.depth", model.depth, 1, 256)
    check_name("config.model.norm", model.norm, NORMS)
    dtype = read_dtype(model.dtype)
    inputs = pixel_inputs(config, info, reach=model.depth, stride=1)
    network = FullResolutionNet(len(info.semantic_classes), model.width, model.depth, model.norm, dtype)
    arguments = normalized(network)
    init, apply = bind(network, arguments)

    def loss(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, *arguments(batch), key=key, train=train)
        terms = segmentation_terms(model.loss, logits, batch.target, batch.valid)
        L = sum((model.loss[name] * term for name, term in terms.items()), start=Loss(()))
        return L, LossAux(model_state, segmentation_metrics(terms, logits, batch.target, batch.valid))

    def predict(params, model_state, batch):
        image, valid = arguments(batch)
        return predict_labels(lambda image: apply(params, model_state, image, valid)[0], image, model.tta)

    return Task(
        inputs=inputs,
        init=init,
        warm_start=lambda params, model_state: (params, model_state, ""),
        trainable=lambda params: jax.tree.map(lambda leaf: True, params),
        loss=loss,
        predict=predict,
        evaluator=lambda: SegmentationEvaluator(info.semantic_classes, background_of(model.loss, info)),
        best=("mean_iou", "max"),
    )
