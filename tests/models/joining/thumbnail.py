"""A model that joins: the class of an image from 8×8 of its pixels. It stands in README, "Adding a model"."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnvision.evaluation.classification import ClassificationEvaluator
from cnnvision.heads.classification import accuracy, class_loss
from cnnvision.models.binding import bind, inputs_of
from cnnvision.settings import Count, read
from cnnvision.task import Loss, LossAux, Task
from cnnvision.types import ClassPrediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """`config.model`."""

    name: str = "thumbnail"
    hidden: Count = 64  # units of the one hidden layer


class Thumbnail(nn.Module):
    """Attributes: classes; hidden: units."""

    classes: int
    hidden: int

    @nn.compact
    def __call__(self, image, train):
        """uint8 images [b, h, w, 3] -> class logits [b, k]."""
        x = jax.image.resize(image.astype(jnp.float32), (len(image), 8, 8, 3), "nearest") / 64.0 - 2.0
        x = x.reshape(len(image), -1)
        return nn.Dense(self.classes)(nn.relu(nn.Dense(self.hidden)(x)))


def make_task(config, info):
    """The thumbnail classifier as the training loop sees it."""
    settings = read(Settings, config.model, "config.model")
    init, apply = bind(Thumbnail(len(info.classes), settings.hidden), lambda batch: (batch.image,))

    def loss(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, batch.image, key=key, train=train)
        labels, valid = batch.target.labels, batch.valid & batch.target.valid
        L = Loss((class_loss(logits, labels, valid),))
        return L, LossAux(model_state, {"accuracy": accuracy(logits, labels, valid)})

    def predict(params, model_state, batch):
        return ClassPrediction(jax.nn.softmax(apply(params, model_state, batch.image)[0]))

    evaluator = lambda: ClassificationEvaluator(info.classes)
    return Task(inputs_of(config.data, "class"), init, loss, predict, evaluator, best=("accuracy", "max"))
