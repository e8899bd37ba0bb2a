"""The parts that detectors of crops have in common: the random-crop detector and R-CNN look at each region as an image of
its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnnvision.backbones import Backbone
from cnnvision.errors import ConfigError, check_range
from cnnvision.heads.box_head import RegionSample, sample_regions, with_background
from cnnvision.heads.rpn import recalled
from cnnvision.models import regions
from cnnvision.models.binding import normalized
from cnnvision.ops.per_image import per_image
from cnnvision.ops.warp import warp
from cnnvision.task import Key, Mean, ProposalSpec
from cnnvision.types import Array, Batch

Cutter = Callable[[Batch, Array, Array], tuple[Array, Array]]
"""(batch, boxes [b, r, 4], valid [b, r]) -> normalised crops [b·r, side, side, 3], valid [b·r]."""


def check_crops(model: Any, stride: int) -> ProposalSpec:
    """The proposals that `config.model` asks for; ConfigError for crops that a network of this stride cannot look at."""
    proposals, side, chunk = regions.check_proposals(model.proposals), model.side, model.chunk
    regions.check_sampling(model)
    check_range("config.model.side", side, 1, 10**4)
    if side % stride:
        raise ConfigError(f"config.model.side = {side}: must be a multiple of {stride}, the network's stride")
    if chunk < 1 or proposals.most % chunk:
        raise ConfigError(f"config.model.chunk = {chunk}: must divide config.model.proposals.most = {proposals.most}")
    return proposals


def cutter(backbone: Backbone, side: int, context: int = 0) -> Cutter:
    """What cuts regions out of a batch's images, each warped to `side` pixels; `context` as in ops/warp.py."""
    images = normalized(backbone)

    def crops_of(batch: Batch, boxes: Array, valid: Array) -> tuple[Array, Array]:
        image, _ = images(batch)
        crops = per_image(partial(warp, side=side, context=context), image, batch.size, boxes)
        return crops.reshape(-1, side, side, 3), (valid & batch.valid[:, None]).reshape(-1)

    return crops_of


def draw(model: Any, keys: Key, batch: Batch) -> tuple[RegionSample, Array, Mean]:
    """Of each image the regions to learn from, their labels (0 for the background), and the recall of its proposals."""

    def of_image(key, proposed, target):
        sample = sample_regions(key, proposed.boxes, proposed.valid, target, **regions.sampling_of(model))
        labels = with_background(target.labels[sample.object], sample.positive)
        return sample, labels, recalled(proposed.boxes, proposed.valid, target)

    return per_image(of_image, keys, batch.proposals, batch.target)


def in_chunks(look: Callable[[Array, Array], Any], boxes: Array, valid: Array, chunk: int) -> Any:
    """`look`(boxes [b, chunk, 4], valid [b, chunk]) -> arrays [b, chunk, ...], on all boxes [b, r, 4], so many of each image
    at a time: all crops at once would need the memory of hundreds of images."""
    cut = lambda x: jnp.moveaxis(x.reshape(len(x), -1, chunk, *x.shape[2:]), 1, 0)
    found = lax.map(lambda part: look(*part), (cut(boxes), cut(valid)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(len(boxes), -1, *x.shape[3:]), found)
