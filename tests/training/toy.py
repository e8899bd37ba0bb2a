"""A task small enough to train in milliseconds, with all that can go wrong: dropout, BatchNorm, padding, two losses."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cnnvision.evaluation.classification import ClassificationEvaluator
from cnnvision.inputs import InputSpec
from cnnvision.ops import losses
from cnnvision.runs.defaults import base
from cnnvision.task import LossAux, Mean, Task
from cnnvision.training.state import begin
from cnnvision.types import Batch, ClassPrediction, ClassTarget

CLASSES = ("dark", "light", "striped")
SIZE = (8, 8)


class Net(nn.Module):
    norm: bool = True
    dropout: float = 0.5

    @nn.compact
    def __call__(self, batch: Batch, train: bool):
        x = batch.image.astype(jnp.float32) / 255.0 - 0.5
        x = nn.Conv(8, (3, 3), strides=2, name="conv")(x)
        if self.norm:
            mask = jnp.broadcast_to(batch.valid[:, None, None, None], x.shape)
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x, mask=mask)
        x = nn.relu(x).mean((1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(len(CLASSES), name="class")(x), nn.Dense(1, name="level")(x)[:, 0]


def make_task(norm: bool = True, dropout: float = 0.5, poison: float = 0.0) -> Task:
    """poison: above 0, the loss is infinite for a batch whose first pixel has this value."""
    net = Net(norm, dropout)

    def init(key, batch):
        variables = dict(net.init(key, batch, train=False))
        return variables.pop("params"), variables

    def loss(params, model_state, batch, key, train):
        variables = {"params": params, **model_state}
        if train:
            (logits, level), model_state = net.apply(
                variables, batch, train=True, rngs={"dropout": key}, mutable=list(model_state)
            )
        else:
            logits, level = net.apply(variables, batch, train=False)
        valid = batch.valid & batch.target.valid
        wanted = batch.image.astype(jnp.float32).mean((1, 2, 3)) / 255.0
        light = valid & (wanted > 0.45)
        Lc = Mean.of(losses.cross_entropy(logits, batch.target.labels), valid)
        Ll = Mean.of((level - wanted) ** 2, light)  # a term with a count of its own
        L = 0.7 * Lc + 0.3 * Ll
        if poison:
            hit = jnp.any(valid & (batch.image[:, 0, 0, 0].astype(jnp.float32) == poison))
            L = L + Mean(jnp.where(hit, jnp.inf, 0.0), jnp.float32(1.0))
        return L, LossAux(model_state, {"loss/class": Lc, "loss/level": Ll})

    def predict(params, model_state, batch):
        logits, _ = net.apply({"params": params, **model_state}, batch, train=False)
        return ClassPrediction(scores=jax.nn.softmax(logits))

    return Task(
        inputs=InputSpec(sizes=(SIZE,), target="class"),
        init=init,
        warm_start=lambda params, state: (params, state, ""),
        trainable=lambda params: jax.tree.map(lambda leaf: True, params),
        loss=loss,
        predict=predict,
        evaluator=lambda: ClassificationEvaluator(CLASSES),
        best=("accuracy", "max"),
    )


def make_batch(seed: int, size: int = 16, invalid: int = 0) -> Batch:
    """Random pictures; the last `invalid` rows are padding full of noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (size, *SIZE, 3), dtype=np.uint8)
    labels = rng.integers(0, len(CLASSES), size).astype(np.int32)
    image[labels == 0] //= 3
    image[labels == 2, ::2] = 0
    valid = np.arange(size) < size - invalid
    return Batch(
        image=image,
        size=np.full((size, 2), SIZE, np.int32),
        valid=valid,
        index=np.arange(size, dtype=np.int32),
        transform=np.broadcast_to(np.eye(2, 3, dtype=np.float32), (size, 2, 3)).copy(),
        core=np.tile(np.array([0, 0, *SIZE], np.int32), (size, 1)),
        target=ClassTarget(labels=labels, valid=np.ones(size, bool)),
    )


def make_init(task, make_optimizer, seed, keep_ema):
    """batch (for shapes) -> the state before the first step."""
    return lambda batch: begin(task, make_optimizer, *task.init(jax.random.key(seed), batch), batch, keep_ema)


def make_config(**training) -> ConfigDict:
    config = base()
    config.optimizer.warmup_steps = 2
    config.training.update(dict(steps=12, log_every=3, eval_every=6, save_every=4), **training)
    return config
