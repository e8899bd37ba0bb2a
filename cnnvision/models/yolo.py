"""YOLO (Redmon, Divvala, Girshick and Farhadi 2016, "You only look once: unified, real-time object detection").

Detection as one regression, from the pixels to boxes and classes: no proposals, one look. Section 2: the image is divided
into S×S cells, and the cell that holds an object's centre is responsible for it; each cell says B boxes with confidences and
K class probabilities, so that the network has S·S·(5·B + K) outputs (heads/grid_head.py).

Section 2.1: 24 convolutions and two fully connected layers. The backbone `darknet_v1` is the first twenty, any other may
stand in their place; the head has the last four and the fully connected layers. Section 2.2: the loss, a sum of squares
(equation 3)

    L = λcoord · (xy + wh) + object + λnoobj · no_object + class,    λcoord = 5, λnoobj = 0.5

in which only the box of a cell that overlaps its object most is responsible for it. Section 2.3: a box's score for a class
is its confidence times the class's probability (equation 1); detections are suppressed class by class. Section 2.4: a cell
holds one object, so that of several in one cell all but one are lost (the metric `lost_objects`).

Deviations. Where the paper says nothing, as the authors' code (Darknet, detection_layer.c): where no box overlaps the
object, the nearest is responsible; the predicted root of a side is squared, and no root of a prediction is taken; the loss
is the mean over images. Unlike it: of several objects in a cell the largest is kept, not the first of a random order; the
factor ½ of its gradient is not there, and the learning rate of published recipes is for half of this loss. Crowds and
difficult objects are neither objects nor background; cells in the padding of an image take no part. The input is divided,
padding included: with `resize` "stretch" it is the image.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.grid_head import GridHead, GridSettings, boxes_and_scores, ceiling, grid_terms, matches
from cnnvision.models.binding import Apply, bind, chosen_stride, inputs_of, normalized, trainable_with
from cnnvision.ops.detections import DetectionSettings, detections
from cnnvision.ops.grid import assign, in_image
from cnnvision.ops.images import per_image
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Count, Weight, read
from cnnvision.task import DataInfo, LossAux, Matched, Task
from cnnvision.types import Array, Batch, DetectionPrediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """`config.model`; defaults are the paper's."""

    name: str = "yolo"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    stride: int | None = None  # of the backbone's map that the head looks at; None for the last
    max_objects: Count = 100  # of an image, in training; the smallest beyond that are left out, and counted
    grid: GridSettings = GridSettings()
    lambda_coord: Weight = 5.0
    lambda_noobj: Weight = 0.5
    # The authors' evaluation keeps all scores above .001; a picture wants those above the best threshold.
    detections: DetectionSettings = DetectionSettings(score_above=0.001)


class YOLO(nn.Module):
    """Attributes: backbone; stride of its map that the head looks at; head."""

    backbone: nn.Module
    stride: int
    head: GridHead

    def __call__(self, image: Array, valid: Array, train: bool) -> Array:
        """Normalised images -> the numbers of each cell, [b, S, S, 5·B + K]."""
        return self.head(self.features(image, valid, train), train, valid)

    def features(self, image: Array, valid: Array, train: bool) -> Array:
        """Normalised images -> the map that the head looks at."""
        return self.backbone(image, train, valid)[self.stride]


@dataclasses.dataclass(frozen=True)
class Stages:
    """The network's stages, and the terms of its loss, as functions of its parameters.

    Attributes:
        settings: of the model.
        network: the module.
        apply: of the network (models/binding.py).
        images: batch -> its normalised images, and which are valid.
    """

    settings: Settings
    network: YOLO
    apply: Apply
    images: Callable[[Batch], tuple[Array, Array]]

    def features(self, params: Any, model_state: Any, batch: Batch) -> Array:
        """The map that the head looks at."""
        return self.apply(params, model_state, *self.images(batch), method="features")[0]

    def outputs(self, params: Any, model_state: Any, batch: Batch) -> Array:
        """The numbers of each cell, [b, S, S, 5·B + K] (section 2)."""
        return self.apply(params, model_state, *self.images(batch))[0]

    def terms(self, params: Any, model_state: Any, batch: Batch, key: Any, train: bool) -> tuple[dict, dict, Any]:
        """(the five terms of equation 3; metrics; the new model state)."""
        outputs, model_state = self.apply(params, model_state, *self.images(batch), key=key, train=train)
        boxes, side = self.settings.grid.boxes, batch.image.shape[1:3]

        def terms_of(outputs, target, size):
            cells = assign(target, size, outputs.shape[:2], *side)
            return grid_terms(outputs, cells, target, boxes, *side)

        per = per_image(terms_of, outputs, batch.target, batch.size)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        return terms, measured, model_state

    def detections(self, params: Any, model_state: Any, batch: Batch) -> DetectionPrediction:
        """Section 2.3."""
        settings, side = self.settings, batch.image.shape[1:3]

        def of_image(outputs, size):
            found = boxes_and_scores(outputs, settings.grid.boxes, *side)
            valid = in_image(size, outputs.shape[:2], *side).reshape(-1).repeat(settings.grid.boxes)
            return detections(*found, valid, size, settings.detections)

        return per_image(of_image, self.outputs(params, model_state, batch), batch.size)

    def ceiling(self, batch: Batch) -> DetectionPrediction:
        """What a perfect network would find of a batch's own objects (section 2.4)."""
        side = batch.image.shape[1:3]
        made = lambda: self.network.init_with_output(jax.random.key(0), *self.images(batch), train=False)[0]
        cells = jax.eval_shape(made).shape[1:3]
        return per_image(lambda target, size: ceiling(target, size, cells, *side), batch.target, batch.size)

    def matches(self, params: Any, model_state: Any, batch: Batch) -> dict[str, Matched]:
        """The cells of objects, and their responsible boxes."""
        boxes, side = self.settings.grid.boxes, batch.image.shape[1:3]

        def of_image(outputs, target, size):
            return matches(outputs, assign(target, size, outputs.shape[:2], *side), target, boxes, *side)

        return per_image(of_image, self.outputs(params, model_state, batch), batch.target, batch.size)


def make_task(config: Any, info: DataInfo) -> Task:
    """YOLO as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    backbone = make_backbone(**settings.backbone)
    stride = chosen_stride(settings.stride, backbone)
    inputs = inputs_of(config.data, "objects", max_objects=settings.max_objects, multiple_of=stride)
    if len(inputs.sizes) > 1 and settings.grid.hidden:
        raise ConfigError("config.data.more_sizes: fully connected layers (config.model.grid.hidden) need one size of input")
    network = YOLO(backbone, stride, GridHead(len(info.classes), settings.grid, backbone.dtype))
    init, apply = bind(network, images := normalized(backbone))
    stages = Stages(settings, network, apply, images)

    def loss(params, model_state, batch, key, train):
        terms, measured, model_state = stages.terms(params, model_state, batch, key, train)
        L = (
            settings.lambda_coord * (terms["xy"] + terms["wh"])
            + terms["object"] + settings.lambda_noobj * terms["no_object"] + terms["class"]
        )  # fmt: skip
        return L, LossAux(model_state, {f"loss/{name}": term for name, term in terms.items()} | measured)

    return Task(
        inputs=inputs,
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, settings.backbone["name"]),
        trainable=trainable_with(backbone),
        loss=loss,
        predict=stages.detections,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges, settings.detections.most),
        best=("AP", "max"),
        parts={"backbone": stages.features, "grid": stages.outputs},
        ceiling=stages.ceiling,
        matches=stages.matches,
    )
