"""Image classification: a backbone, global average pooling, one linear layer, cross entropy.

The last stage of He et al. 2016 (section 3.3) with any backbone below it. Label smoothing: Szegedy et al. 2016, section 7.

Deviations: none; what a recipe adds (smoothing, dropout, weight averages) is off unless the config asks for it.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnvision.backbones import make_backbone
from cnnvision.evaluation.classification import ClassificationEvaluator
from cnnvision.heads.classification import ClassificationHead, accuracy, class_loss
from cnnvision.models.binding import bind, inputs_of, normalized, trainable_with
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Dropout, Share, read
from cnnvision.task import DataInfo, Loss, LossAux, Task
from cnnvision.types import Array, ClassPrediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """`config.model`."""

    name: str = "classifier"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    label_smoothing: Share = 0.0  # Szegedy et al. 2016, section 7
    dropout: Dropout = 0.0  # before the linear layer


class Classifier(nn.Module):
    """Attributes: backbone; head, on the backbone's last feature map."""

    backbone: nn.Module
    head: ClassificationHead

    def __call__(self, image: Array, valid: Array, train: bool) -> Array:
        """Normalised images -> class logits [b, k]."""
        features = self.backbone(image, train, valid)
        return self.head(features[max(features)], train)


def make_task(config: Any, info: DataInfo) -> Task:
    """The classifier as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    backbone = make_backbone(**settings.backbone)
    head = ClassificationHead(len(info.classes), dropout=settings.dropout, dtype=backbone.dtype)
    images = normalized(backbone)
    init, apply = bind(Classifier(backbone, head), images)

    def loss(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, *images(batch), key=key, train=train)
        labels, valid = batch.target.labels, batch.valid & batch.target.valid
        L = Loss((class_loss(logits, labels, valid, settings.label_smoothing),))
        return L, LossAux(model_state, {"accuracy": accuracy(logits, labels, valid)})

    def predict(params, model_state, batch):
        logits, _ = apply(params, model_state, *images(batch))
        return ClassPrediction(scores=jax.nn.softmax(logits.astype(jnp.float32), axis=-1))

    return Task(
        inputs=inputs_of(config.data, "class", multiple_of=max(backbone.strides)),
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, settings.backbone["name"]),
        trainable=trainable_with(backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: ClassificationEvaluator(info.classes),
        best=("accuracy", "max"),
    )
