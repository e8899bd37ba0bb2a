"""SSD (Liu, Anguelov, Erhan, Szegedy, Reed, Fu and Berg 2016, "SSD: Single Shot MultiBox Detector").

One network looks once at the image, and no box is proposed and looked at again. Section 2.1, "Multi-scale feature maps for
detection": maps of the backbone and coarser ones behind it (necks/extra_maps.py). "Default boxes and aspect ratios": at each
position of each map there are boxes of several shapes (ops/default_boxes.py). "Convolutional predictors for detection": 3×3
convolutions give for each of them a score of every class and the background, and four numbers that move it onto the object
(heads/ssd_head.py).

Section 2.2, "Matching strategy": each object is matched to its best default box, then default boxes to any object with an
IoU of .5. "Training objective": L = (Lconf + α·Lloc) / N, α = 1, N the matched boxes of the whole batch. "Hard negative
mining": of the background the boxes with the highest loss, three for each matched one of the image. "Data augmentation" is
the config's. Section 3.1: the finest map is brought to a norm of 20, which is learnt on (`l2_norm`); new layers begin as
Glorot and Bengio have it ("xavier"). Section 3.7: scores above .01, suppression class by class at IoU .45, the best 200.

As in torchvision's `ssd300_vgg16`: an image without objects, or only with such as touch no default box, adds nothing to the
loss (it has no matched box that hard negatives could be three times as many as); where one default box is the best of two
objects, the last one has it (the authors' code matches one to one); default boxes are no longer than the image's sides.

Deviations: default boxes whose middle lies in the padding of an image take no part in the loss, and find nothing. Default
boxes on crowds and difficult objects are not background (ops/matching.py). An object that no default box touches is matched
to none. Detections with a side below .01 pixels are dropped.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.ssd_head import (
    DefaultBoxSettings,
    MatchingSettings,
    SSDHead,
    ceiling,
    matched,
    ssd_detections,
    ssd_terms,
)
from cnnvision.models.binding import Apply, bind, chosen_stride, inputs_of, named_sizes, normalized, trainable_with
from cnnvision.necks.extra_maps import ExtraMaps, ExtraMapSettings
from cnnvision.ops.boxes import iou, pairwise
from cnnvision.ops.default_boxes import default_boxes, outside_padding
from cnnvision.ops.detections import DetectionSettings
from cnnvision.ops.images import per_image
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Count, Weight, read
from cnnvision.task import DataInfo, LossAux, Matched, Task
from cnnvision.types import Array, Batch, DetectionPrediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """`config.model`; defaults are SSD300, as torchvision has it for COCO."""

    name: str = "ssd"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    strides: tuple[int, ...] = (8, 16)  # of the backbone's maps
    l2_norm: bool = True  # of the finest map
    extra_maps: ExtraMapSettings = ExtraMapSettings()
    default_boxes: DefaultBoxSettings = DefaultBoxSettings()
    matching: MatchingSettings = MatchingSettings()
    max_objects: Count = 100  # of an image, in training; the smallest beyond that are left out, and counted
    detections: DetectionSettings = DetectionSettings(score_above=0.01, threshold=0.45, most=200, candidates=400)
    alpha: Weight = 1.0  # L = (Lconf + alpha · Lloc) / N

    def __post_init__(self):
        if not self.strides or sorted({*self.strides}) != [*self.strides]:
            raise ConfigError(f"strides = {self.strides}: must be rising, and one at least")
        try:
            self.default_boxes.check(len(self.strides) + len(self.extra_maps.maps))
        except ConfigError as error:  # it begins with the field
            raise ConfigError(f"default_boxes.{error} (strides, and extra_maps.maps)") from error


class SSD(nn.Module):
    """Attributes: backbone; strides of its maps that are used; extra_maps; ssd_head."""

    backbone: nn.Module
    strides: Sequence[int]
    extra_maps: ExtraMaps
    ssd_head: SSDHead

    def __call__(self, image: Array, valid: Array, train: bool) -> tuple[Array, Array]:
        """Normalised images -> logits [b, n, 1 + k] and deltas [b, n, 4] of all default boxes."""
        return self.ssd_head(self.features(image, valid, train))

    def features(self, image: Array, valid: Array, train: bool) -> list[Array]:
        """Normalised images -> maps, the finest first."""
        maps = self.backbone(image, train, valid)
        return self.extra_maps({stride: maps[stride] for stride in self.strides}, train, valid)


def make_network(settings: Settings, classes: int) -> SSD:
    """The module that settings describe."""
    backbone = make_backbone(**settings.backbone)
    for stride in settings.strides:
        chosen_stride(stride, backbone, "config.model.strides")
    extra, dtype = settings.extra_maps, backbone.dtype
    return SSD(
        backbone=backbone,
        strides=settings.strides,
        extra_maps=ExtraMaps(extra.maps, settings.l2_norm, extra.norm, extra.width, dtype),
        ssd_head=SSDHead(classes, settings.default_boxes.at_position, dtype),
    )


def boxes_of(network: SSD, settings: DefaultBoxSettings, size: tuple[int, int], key: str = "input") -> np.ndarray:
    """The default boxes [n, 4] of inputs of `size` (height, width), which errors call `key`."""
    image, valid = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32), jax.ShapeDtypeStruct((1,), bool)
    features = partial(network.init_with_output, train=False, method="features")
    try:
        maps, _ = jax.eval_shape(lambda *inputs: features(jax.random.key(0), *inputs), image, valid)
    except ConfigError as error:  # it begins with the field
        raise ConfigError(f"{key} = {size}: is too small for config.model.extra_maps.{error}") from error
    positions = [each.shape[1:3] for each in maps]
    return default_boxes(positions, size, settings.scales, settings.ratios, settings.steps)


@dataclasses.dataclass(frozen=True)
class Stages:
    """The network's stages, and the terms of its loss, as functions of its parameters.

    Attributes:
        settings: of the model.
        classes: k.
        apply: of the network (models/binding.py).
        images: batch -> its normalised images, and which are valid.
        boxes: (height, width) of each declared input -> its default boxes [n, 4].
    """

    settings: Settings
    classes: int
    apply: Apply
    images: Callable[[Batch], tuple[Array, Array]]
    boxes: Mapping[tuple[int, int], np.ndarray]

    def features(self, params: Any, model_state: Any, batch: Batch) -> list[Array]:
        """Maps, the finest first (section 2.1)."""
        return self.apply(params, model_state, *self.images(batch), method="features")[0]

    def heads(self, params: Any, model_state: Any, batch: Batch) -> tuple[Array, Array]:
        """Logits and deltas of all default boxes."""
        return self.apply(params, model_state, *self.images(batch))[0]

    def terms(self, params: Any, model_state: Any, batch: Batch, train: bool) -> tuple[dict, dict, Any]:
        """(terms of the loss: "class", "box"; metrics; the new model state), section 2.2."""
        outputs, model_state = self.apply(params, model_state, *self.images(batch), train=train)

        def of_image(boxes, inside, size, logits, deltas, target):
            return ssd_terms(logits, deltas, boxes, inside, target, self.settings.matching)

        per = self._of_each_image(of_image, batch, *outputs, batch.target)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        return terms, measured, model_state

    def detections(self, params: Any, model_state: Any, batch: Batch) -> DetectionPrediction:
        """Section 3.7."""

        def of_image(boxes, inside, size, logits, deltas):
            return ssd_detections(logits, deltas, boxes, inside, size, self.settings.detections)

        return self._of_each_image(of_image, batch, *self.heads(params, model_state, batch))

    def ceiling(self, batch: Batch) -> DetectionPrediction:
        """What a perfect network would find of a batch's own objects."""

        def of_image(boxes, inside, size, target):
            return ceiling(boxes, inside, target, size, self.classes, self.settings.matching, self.settings.detections)

        return self._of_each_image(of_image, batch, batch.target)

    def fitting(self, batch: Batch) -> Array:
        """Which objects a default box overlaps enough to stand for them, were it not their best (section 2.2)."""

        def of_image(boxes, inside, size, target):
            overlaps = jnp.where(inside[:, None], pairwise(iou, boxes, target.boxes), 0.0)
            return jnp.max(overlaps, axis=0) >= self.settings.matching.positive_from

        return self._of_each_image(of_image, batch, batch.target)

    def matches(self, params: Any, model_state: Any, batch: Batch) -> dict[str, Matched]:
        """The default boxes that stand for objects (section 2.2, "Matching strategy")."""

        def of_image(boxes, inside, size, target):
            found = matched(boxes, inside, target, self.settings.matching)
            return Matched(boxes, found.object, found.positive)

        return {"default boxes": self._of_each_image(of_image, batch, batch.target)}

    def _of_each_image(self, function: Callable[..., Any], batch: Batch, *rows: Any) -> Any:
        """function(default boxes, which of them take part, size of the image, *rows) of each image."""
        whole = batch.image.shape[1:3]
        boxes = self.boxes[whole]

        def of_image(size, *rows):
            every = jnp.asarray(boxes)
            return function(every, outside_padding(every, size, whole), size, *rows)

        return per_image(of_image, batch.size, *rows)


def make_task(config: Any, info: DataInfo) -> Task:
    """SSD as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network = make_network(settings, len(info.classes))
    init, apply = bind(network, images := normalized(network.backbone))
    boxes = {size: boxes_of(network, settings.default_boxes, size, key) for key, size in named_sizes(config.data)}
    stages = Stages(settings, len(info.classes), apply, images, boxes)
    named, epsilon = settings.backbone["name"], network.backbone.frozen_epsilon

    def loss(params, model_state, batch, key, train):
        terms, measured, model_state = stages.terms(params, model_state, batch, train)
        L = terms["class"] + settings.alpha * terms["box"]
        return L, LossAux(model_state, {f"loss/{name}": term for name, term in terms.items()} | measured)

    return Task(
        inputs=inputs_of(config.data, "objects", max_objects=settings.max_objects),
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, named, classes=info.classes, epsilon=epsilon),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=stages.detections,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges, settings.detections.most),
        best=("AP", "max"),
        parts={"backbone": stages.features, "SSD heads": stages.heads},
        ceiling=stages.ceiling,
        fitting=stages.fitting,
        matches=stages.matches,
    )
