"""What tests of the networks for every pixel share: tasks of any input size, weights that hide nothing, images."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnnvision.backbones import make_backbone
from cnnvision.data.batching import empty_batch
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.models.unet import UNet
from cnnvision.necks.decoder import Decoder, level_widths
from tests.models.cases import PATH
from tests.models.tasks import CLASSES, task_of

PLAIN_PATH = {**PATH, "norm": "none", "dropout": 0.0, "frozen_stages": 0, "dtype": "float32"}
"""The contracting path without norm and dropout: width 4, depth 2, same padding."""


def unet_of(depth=2, width=4, upsampling="transposed", skips=True, valid=False, norm="none", classes=len(CLASSES)):
    """The module that `make_task` makes, for its logits."""
    path = {**PLAIN_PATH, "depth": depth, "width": width, "norm": norm, "padding": "valid" if valid else "same"}
    backbone = make_backbone(**path)
    widths, padding = level_widths(None, backbone.channels), "VALID" if valid else "torch"
    decoder = Decoder(widths, upsampling, skips, padding=padding, norm=norm)
    return UNet(backbone, decoder, SegmentationHead(classes))


def unet_task(depth=2, width=4, upsampling="transposed", skips=True, valid=False, norm="none", **options):
    """The task around `unet_of` with the same arguments."""
    path = {**PLAIN_PATH, "depth": depth, "width": width, "norm": norm, "padding": "valid" if valid else "same"}
    decoder = {"widths": None, "upsampling": upsampling, "norm": norm}
    return task_of("unet", backbone=path, decoder=decoder, skips=skips, **options)


def batch_of(task, rows=2, seed=0, ignored=0.0):
    """Noise, with labels of noise, of which a share is IGNORE."""
    rng = np.random.default_rng(seed)
    batch = empty_batch(task.inputs, rows)
    labels = rng.integers(0, len(CLASSES), batch.target.labels.shape).astype(np.uint8)
    labels[rng.random(labels.shape) < ignored] = 255
    batch = batch.replace(
        image=rng.integers(0, 256, batch.image.shape).astype(np.uint8),
        size=np.full((rows, 2), batch.image.shape[1:3], np.int32),
        valid=np.ones(rows, bool),
        target=batch.target.replace(labels=labels),
    )
    return jax.tree.map(jnp.asarray, batch)


def shaken(shapes, seed=0):
    """Weights for a tree of shapes (`jax.eval_shape`): kernels of about He's size, and neither a bias nor a statistic that
    is 0 or 1, as they all are at the start.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name, noise = path[-1].key, rng.standard_normal(leaf.shape).astype(np.float32)
        if name == "kernel":
            return jnp.asarray(noise * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1]))))
        return jnp.asarray(1 + 0.3 * np.tanh(noise) if name in ("scale", "var") else 0.3 * noise)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def start(task, rows=1, seed=0):
    """(params, model_state) of a task, shaken."""
    return shaken(jax.eval_shape(task.init, jax.random.key(0), empty_batch(task.inputs, rows)), seed)


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def variables_of(network, size, seed=0):
    """Shaken variables of a module called with (image, valid, train)."""
    call = functools.partial(network.init, train=False)
    shapes = jax.eval_shape(call, jax.random.key(0), jnp.zeros((1, *size, 3)), jnp.ones(1, bool))
    return shaken(dict(shapes), seed)


def with_features_changed(network, variables, image, change):
    """Logits of a network between whose backbone and the rest `change` is applied to the features by stride."""

    def between(call, arguments, keywords, context):
        output = call(*arguments, **keywords)
        return change(output) if context.module.name == "backbone" and context.method_name == "__call__" else output

    with nn.intercept_methods(between):
        return network.apply(variables, image, jnp.ones(len(image), bool), False)


def parameters_in(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def close(one, other, relative):
    """Asserts that two maps differ by no more than a share of their largest value."""
    assert one.shape == other.shape
    assert float(np.max(np.abs(np.asarray(one) - np.asarray(other)))) <= relative * float(np.max(np.abs(np.asarray(other))))
