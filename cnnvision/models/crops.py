"""The parts that detectors of crops have in common: the random-crop detector and R-CNN look at each region as an image of
its own."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax

from cnnvision.backbones.layers import Backbone
from cnnvision.errors import ConfigError
from cnnvision.heads.box_head import RegionSample, SamplingSettings, sample_regions, with_background
from cnnvision.heads.rpn import proposal_recall
from cnnvision.inputs import ProposalSpec
from cnnvision.models.binding import normalized
from cnnvision.ops.detections import DetectionSettings
from cnnvision.ops.images import per_image
from cnnvision.ops.warp import warp
from cnnvision.settings import Between, Count
from cnnvision.task import Key, Mean
from cnnvision.types import Array, Batch

Cutter = Callable[[Batch, Array, Array], tuple[Array, Array]]
"""(batch, boxes [b, r, 4], valid [b, r]) -> normalised crops [b·r, side, side, 3], valid [b·r]."""


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """What detectors of crops read of `config.model`."""

    side: Annotated[int, Between(1, 10**4)] = 64  # of a crop as the network sees it, pixels
    chunk: Count = 50  # crops of an image that go through the network together, in prediction; divides proposals.most
    max_objects: Count = 8  # of an image, in training; the smallest beyond that are left out, and counted
    proposals: ProposalSpec = ProposalSpec("selective_search", 500)
    regions: SamplingSettings = SamplingSettings()  # the crops to learn from
    detections: DetectionSettings = DetectionSettings()

    def __post_init__(self):
        if self.proposals.most % self.chunk:
            raise ConfigError(f"chunk = {self.chunk}: must divide proposals.most = {self.proposals.most}")


def check_side(settings: CropSettings, stride: int) -> None:
    """Raises ConfigError for crops that a network of this stride cannot look at."""
    if settings.side % stride:
        raise ConfigError(f"config.model.side = {settings.side}: must be a multiple of {stride}, the network's stride")


def cutter(backbone: Backbone, side: int, context: int = 0) -> Cutter:
    """What cuts regions out of a batch's images, each warped to `side` pixels; `context` as in ops/warp.py."""
    images = normalized(backbone)

    def crops_of(batch: Batch, boxes: Array, valid: Array) -> tuple[Array, Array]:
        image, _ = images(batch)
        crops = per_image(partial(warp, side=side, context=context), image, batch.size, boxes)
        return crops.reshape(-1, side, side, 3), (valid & batch.valid[:, None]).reshape(-1)

    return crops_of


def draw(settings: CropSettings, keys: Key, batch: Batch) -> tuple[RegionSample, Array, Mean]:
    """Of each image the regions to learn from, their labels (0 for the background), and the recall of its proposals."""

    def of_image(key, proposals, target):
        sample = sample_regions(key, proposals.boxes, proposals.valid, target, settings.regions)
        labels = with_background(target.labels[sample.object], sample.positive)
        return sample, labels, proposal_recall(proposals.boxes, proposals.valid, target)

    return per_image(of_image, keys, batch.proposals, batch.target)


def in_chunks(look: Callable[[Array, Array], Any], boxes: Array, valid: Array, chunk: int) -> Any:
    """Applies `look`, (boxes [b, chunk, 4], valid [b, chunk]) -> arrays [b, chunk, ...], to all boxes [b, r, 4] in chunks of
    `chunk` boxes per image, to bound memory."""
    cut = lambda x: jnp.moveaxis(x.reshape(len(x), -1, chunk, *x.shape[2:]), 1, 0)
    found = lax.map(lambda part: look(*part), (cut(boxes), cut(valid)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(len(boxes), -1, *x.shape[3:]), found)
