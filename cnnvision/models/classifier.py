"""Image classification: a backbone, global average pooling, one linear layer, cross entropy.

The last stage of He et al. 2016 (section 3.3) with any backbone below it. Label smoothing: Szegedy et al. 2016, section 7.

Deviations: none; what a recipe adds (smoothing, dropout, weight averages) is off unless the config asks for it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnvision.backbones import make_backbone
from cnnvision.errors import check_range
from cnnvision.evaluation.classification import ClassificationEvaluator
from cnnvision.heads.classification import ClassificationHead, accuracy, class_loss
from cnnvision.models.binding import bind, input_sizes, trainable_with
from cnnvision.ops.images import normalize
from cnnvision.pretrained.start import warm_start
from cnnvision.task import DataInfo, InputSpec, LossAux, Task
from cnnvision.types import Array, Batch, ClassPrediction


class Classifier(nn.Module):
    """Attributes: backbone; head, on the backbone's last feature map."""

    backbone: nn.Module
    head: ClassificationHead

    def __call__(self, batch: Batch, train: bool) -> Array:
        """Batch -> class logits [b, k]."""
        image = normalize(batch.image, batch.size, self.backbone.mean, self.backbone.std, self.backbone.dtype)
        features = self.backbone(image, train, batch.valid)
        return self.head(features[max(features)], train)


def make_task(config: Any, info: DataInfo) -> Task:
    """The classifier as the training loop sees it.

    Args:
        config: `model` holds backbone, pretrained, label_smoothing, dropout; `data` holds size and resize.
        info: the classes.
    """
    model = config.model
    check_range("config.model.dropout", model.dropout, 0, 0.99)
    check_range("config.model.label_smoothing", model.label_smoothing, 0, 1)
    backbone = make_backbone(**model.backbone)
    head = ClassificationHead(len(info.classes), dropout=model.dropout, dtype=backbone.dtype)
    network = Classifier(backbone=backbone, head=head)

    init, apply = bind(network)

    def loss(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, batch, key=key, train=train)
        labels, valid = batch.target.labels, batch.valid & batch.target.valid
        L = 1.0 * class_loss(logits, labels, valid, model.label_smoothing)
        return L, LossAux(model_state, {"accuracy": accuracy(logits, labels, valid)})

    def predict(params, model_state, batch):
        logits, _ = apply(params, model_state, batch)
        return ClassPrediction(scores=jax.nn.softmax(logits.astype(jnp.float32), axis=-1))

    return Task(
        inputs=InputSpec(
            sizes=input_sizes(config), target="class", resize=config.data.resize, multiple_of=max(backbone.strides)
        ),
        init=init,
        warm_start=warm_start(model.pretrained, model.backbone.name),
        trainable=trainable_with(backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: ClassificationEvaluator(info.classes),
        best=("accuracy", "max"),
    )
