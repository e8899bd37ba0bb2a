"""Classification + localization: which one object is it, and where (Girshick 2015's multi-task idea at its smallest).

One backbone, and on its last feature map two heads: a classification head and a regression head (x, y, w, h), trained
together on

    L = α·Lc + (1 − α)·Lr,    α = 0.5 by default

where Lc is the cross entropy of the class and Lr the regression loss of the box, mean squared error by default. Multi-task
training of class and box on shared features: Sermanet et al. 2014 (OverFeat), section 4; Girshick 2015, section 2.3.

Deviations: none of the two papers is followed as a whole. OverFeat regresses one box a class at many positions and scales,
and trains its heads one after the other; here one box an image is regressed, and both heads are trained at once.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.evaluation.localization import LocalizationEvaluator
from cnnvision.heads.box_regression import BOX_LOSSES, BoxRegressionHead, decode
from cnnvision.heads.classification import ClassificationHead, accuracy, class_loss
from cnnvision.models.binding import bind, chosen_stride, inputs_of, normalized, trainable_with
from cnnvision.ops import boxes as box_ops
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Between, Dropout, Share, read
from cnnvision.task import DataInfo, LossAux, Mean, Task
from cnnvision.types import Array, LocalizationPrediction


@dataclasses.dataclass(frozen=True)
class Network:
    """What of `config.model` the network and its loss are made of; the random-crop detector reads it, too."""

    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    stride: int | None = None  # of the feature map that both heads look at; None for the last
    alpha: Annotated[float, Between(0, 1, "the weights of α·Lc + (1−α)·Lr")] = 0.5  # L = α·Lc + (1 − α)·Lr
    class_pooling: Literal["average", "flatten", "attention"] = "attention"  # heads/classification.py
    box_pooling: Literal["flatten", "attention"] = "attention"  # heads/box_regression.py
    box_loss: Literal["mean_squared_error", "smooth_l1", "giou"] = "mean_squared_error"
    label_smoothing: Share = 0.0
    dropout: Dropout = 0.0  # in both heads


@dataclasses.dataclass(frozen=True)
class Settings(Network):
    """`config.model`."""

    name: str = "localizer"


class Localizer(nn.Module):
    """Attributes: backbone; stride of the one feature map that both heads look at; class_head and box_head."""

    backbone: nn.Module
    stride: int
    class_head: ClassificationHead
    box_head: BoxRegressionHead

    @nn.compact
    def __call__(self, image: Array, valid: Array, train: bool) -> tuple[Array, Array]:
        """Normalised images -> class logits [b, k], and boxes [b, 4] as (x, y, w, h) fractions of the input."""
        features = self.features(image, valid, train)
        # Features of pretrained backbones have any scale (EfficientNet-Lite0: standard deviations of 3 to 9); heads that
        # start from scratch would begin with enormous logits.
        features = nn.LayerNorm(name="feature_norm")(features.astype(jnp.float32))
        return self.class_head(features, train), self.box_head(features, train)

    def features(self, image: Array, valid: Array, train: bool) -> Array:
        """Normalised images -> the map that the heads look at."""
        return self.backbone(image, train, valid)[self.stride]


def make_network(settings: Network, outputs: int) -> Localizer:
    """The module that settings describe, with `outputs` class logits."""
    backbone = make_backbone(**settings.backbone)
    shared = {"dropout": settings.dropout, "dtype": backbone.dtype}
    return Localizer(
        backbone=backbone,
        stride=chosen_stride(settings.stride, backbone),
        class_head=ClassificationHead(outputs, settings.class_pooling, **shared),
        box_head=BoxRegressionHead(settings.box_pooling, **shared),
    )


def make_task(config: Any, info: DataInfo) -> Task:
    """The localizer as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network = make_network(settings, len(info.classes))
    alpha, backbone = settings.alpha, network.backbone
    inputs = inputs_of(config.data, "objects", objects="largest", multiple_of=network.stride)
    for key in ("class_pooling", "box_pooling"):
        if len(inputs.sizes) > 1 and getattr(settings, key) == "flatten":
            raise ConfigError(f'config.data.more_sizes: config.model.{key} = "flatten" needs inputs of one size')
    images = normalized(backbone)
    init, apply = bind(network, images)

    def loss(params, model_state, batch, key, train):
        (logits, fractions), model_state = apply(params, model_state, *images(batch), key=key, train=train)
        target, (height, width) = batch.target, batch.image.shape[1:3]
        boxes, labels = target.boxes[:, 0], target.labels[:, 0]
        valid = batch.valid & target.valid[:, 0]
        Lc = class_loss(logits, labels, valid, settings.label_smoothing)
        Lr = Mean.of(BOX_LOSSES[settings.box_loss](fractions, box_ops.to_fractions(boxes, height, width)), valid)
        L = alpha * Lc + (1.0 - alpha) * Lr
        overlap = box_ops.iou(decode(fractions, height, width), boxes)
        metrics = {
            "loss/class": Lc,
            "loss/box": Lr,
            "accuracy": accuracy(logits, labels, valid),
            "mean_box_iou": Mean.of(overlap, valid),
        }
        return L, LossAux(model_state, metrics)

    def predict(params, model_state, batch):
        (logits, fractions), _ = apply(params, model_state, *images(batch))
        height, width = batch.image.shape[1:3]
        scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        return LocalizationPrediction(scores=scores, boxes=decode(fractions, height, width))

    return Task(
        inputs=inputs,
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, settings.backbone["name"], head="class_head"),
        trainable=trainable_with(backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: LocalizationEvaluator(info.classes),
        best=("localization_accuracy", "max"),
    )
