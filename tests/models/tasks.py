"""Small tasks of every model, and batches for them: what tests over all models share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cnnvision.data.batching import empty_batch
from cnnvision.models import make_task
from cnnvision.runs.configuration import load_config
from cnnvision.task import DataInfo
from cnnvision.types import ClassTarget, ObjectTarget, Regions, SemanticTarget
from tests.models.cases import CASES

CLASSES = ("circle", "square", "star")
SMALL = {"name": "small", "width": 4, "layers": 2, "norm": "batch", "frozen_stages": 0, "dtype": "float32"}
"""The smallest backbone."""
ROWS = 4


def model_of(name):
    """`config.model` of a model's case."""
    model = load_config(f"{CASES[name].config}:smoke").copy_and_resolve_references().model.unlock()
    changes = dict(CASES[name].model)
    if "backbone" in model:
        model.backbone = ConfigDict(changes.pop("backbone", SMALL))
    model.update(changes)
    return model


def task_of(name, size=(64, 64), resize="stretch", margin=None, classes=CLASSES, more_sizes=(), **model):
    """The task of a model's case, but for the input and what `model` sets."""
    data = {"size": tuple(size), "more_sizes": more_sizes, "resize": resize, "margin": margin}
    config = ConfigDict({"model": {**model_of(name).to_dict(), **model}, "data": data})
    return make_task(config, DataInfo(classes, classes))


@functools.cache
def prepared(name):
    """task, params, model_state, compiled loss-and-gradient, compiled predict."""
    task = task_of(name)
    params, model_state = jax.jit(task.init)(jax.random.key(0), make_batch(task))

    def objective(params, model_state, batch, key, train):
        loss, aux = task.loss(params, model_state, batch, key, train)
        return loss.value(), (loss, aux)

    gradient = jax.jit(jax.value_and_grad(objective, has_aux=True), static_argnums=4)
    return task, params, model_state, gradient, jax.jit(task.predict)


def disc(side):
    """bool [side, side], the largest disc."""
    x = (np.arange(side) + 0.5) / side - 0.5
    return x[:, None] ** 2 + x**2 < 0.25


def make_batch(task, seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    batch = empty_batch(task.inputs, rows)
    height, width = batch.image.shape[1:3]
    if isinstance(batch.target, ClassTarget):
        target = ClassTarget(rng.integers(0, len(CLASSES), rows).astype(np.int32), np.ones(rows, bool))
    elif isinstance(batch.target, SemanticTarget):
        blocks = rng.integers(0, len(CLASSES), (rows, height // 16, width // 16), dtype=np.uint8)
        target = SemanticTarget(np.kron(blocks, np.ones((16, 16), np.uint8)))
    else:
        shape = batch.target.labels.shape
        corners = np.sort(rng.uniform(0, 1, (*shape, 2, 2)), axis=2) * [width, height]
        target = ObjectTarget(
            boxes=corners.reshape(*shape, 4).astype(np.float32),
            labels=rng.integers(0, len(CLASSES), shape).astype(np.int32),
            valid=np.ones(shape, bool),
            crowd=np.zeros(shape, bool),
            masks=batch.target.masks,
        )
        if target.masks is not None:
            target.masks[:] = disc(target.masks.shape[-1])
    image = rng.integers(0, 256, batch.image.shape, dtype=np.uint8)
    if isinstance(target, SemanticTarget):  # something to see: the classes differ in brightness
        image = (image // 4 + target.labels[..., None] * np.uint8(60)).astype(np.uint8)
    if isinstance(target, ObjectTarget):
        for row, (boxes, labels) in enumerate(zip(target.boxes.astype(int), target.labels, strict=True)):
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                image[row, y1:y2, x1:x2] = image[row, y1:y2, x1:x2] // 4 + np.uint8(60 * label + 60)
    proposals = batch.proposals
    if proposals is not None:
        corners = np.sort(rng.uniform(0, 1, (*proposals.valid.shape, 2, 2)), axis=2) * [width, height]
        boxes = corners.reshape(*proposals.valid.shape, 4).astype(np.float32)
        proposals = Regions(boxes=boxes, valid=rng.random(proposals.valid.shape) < 0.9)
    batch = batch.replace(
        image=image,
        proposals=proposals,
        size=np.full((rows, 2), (height, width), np.int32),
        valid=np.ones(rows, bool),
        target=target,
    )
    return jax.tree.map(jnp.asarray, batch)
