"""Fast R-CNN (Girshick 2015, "Fast R-CNN").

Section 2: the convolutional layers see the whole image once. Section 2.1: of each proposal, RoI max pooling takes a grid of
7×7 bins from their last map. Fully connected layers lead to two sibling outputs: a softmax over the classes and the
background, and four numbers for each class that move the proposal onto the object. Proposals come from elsewhere: selective
search (data/wrappers/proposals.py).

Section 2.3: the layers are trained together on L = Lcls + λ [u ≥ 1] Lloc, λ = 1, smooth L1 with its bend at 1. "Mini-batch
sampling": of R = 128 regions from N = 2 images, 25 % have an IoU of at least 0.5 with an object, the others of 0.1 to 0.5.
Section 2.2: detections are suppressed class by class.

`neck` "fpn" and RoIAlign by config: what Faster R-CNN is compared with on equal terms.

Deviations: the objects' own boxes are among the proposals in training, as in the published code; the targets of boxes are
divided by constants, (0.1, 0.1, 0.2, 0.2), in place of the standard deviations of the training data; the optimizer is the
config's, with one learning rate for weights and biases.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.box_head import (
    BoxHead,
    RegionSettings,
    box_head_accuracy,
    box_head_terms,
    class_boxes_and_scores,
    pool_regions,
    sample_regions,
)
from cnnvision.heads.rpn import proposal_recall
from cnnvision.inputs import ProposalSpec
from cnnvision.models.binding import bind, chosen_stride, inputs_of, keys_of_images, normalized, trainable_with
from cnnvision.necks.fpn import FeaturePyramid
from cnnvision.ops.detections import DetectionSettings, detections
from cnnvision.ops.images import per_image
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Between, Count, Weight, read
from cnnvision.task import DataInfo, LossAux, Task
from cnnvision.types import Array, DetectionPrediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """`config.model`; defaults are torchvision's recipe for a pyramid on COCO."""

    name: str = "fast_rcnn"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    neck: Literal["fpn", "none"] = "fpn"  # or "none": one map of the backbone
    strides: tuple[int, ...] = (4, 8, 16, 32)  # of the backbone's maps
    width: Annotated[int, Between(1, 10**5)] = 256  # channels of the pyramid's maps
    max_objects: Count = 100  # of an image, in training; the smallest beyond that are left out, and counted
    proposals: ProposalSpec = ProposalSpec("selective_search", 2000)
    regions: RegionSettings = RegionSettings()
    detections: DetectionSettings = DetectionSettings()
    lambda_box: Weight = 1.0  # L = Lclass + lambda_box · Lbox

    def __post_init__(self):
        strides = self.strides
        if not strides or (self.neck == "none" and len(strides) != 1):
            raise ConfigError(f"strides = {strides}: a pyramid needs one at least; without a neck there must be one")
        if self.neck == "fpn" and list(strides) != [min(strides) * 2**i for i in range(len(strides))]:
            raise ConfigError(f"strides = {strides}: a pyramid needs each to be twice the one before")
        if self.neck == "fpn" and self.regions.pooling == "max":
            raise ConfigError('regions.pooling: a pyramid is pooled by "align" alone')


class FastRCNN(nn.Module):
    """Attributes: backbone; strides of its maps that are used; neck, or None; box_head; regions: see `RegionSettings`."""

    backbone: nn.Module
    strides: Sequence[int]
    neck: FeaturePyramid | None
    box_head: BoxHead
    regions: RegionSettings

    def __call__(self, image: Array, valid: Array, boxes: Array, train: bool) -> tuple[Array, Array]:
        """Normalised images and boxes [b, r, 4], input pixels -> logits [b, r, 1 + k], deltas [b, r, 1 + k, 4]."""
        return self.classify(self.features(image, valid, train), boxes, train)

    def features(self, image: Array, valid: Array, train: bool) -> dict[int, Array]:
        """Normalised images -> maps by stride."""
        maps = self.backbone(image, train, valid)
        maps = {stride: maps[stride] for stride in self.strides}
        return maps if self.neck is None else self.neck(maps)

    def classify(self, maps: Mapping[int, Array], boxes: Array, train: bool) -> tuple[Array, Array]:
        """Maps and boxes [b, r, 4] -> logits, deltas. (A pyramid's coarser map, beyond `strides`, is not pooled from.)"""
        maps = {stride: maps[stride] for stride in self.strides}
        return self.box_head(per_image(partial(pool_regions, settings=self.regions), maps, boxes), train)


def parts_of(settings: Settings, classes: int, coarser: int = 0) -> dict[str, Any]:
    """The attributes of `FastRCNN` that settings describe; `coarser`: maps of the pyramid beyond the largest stride."""
    backbone = make_backbone(**settings.backbone)
    for stride in settings.strides:
        chosen_stride(stride, backbone, "config.model.strides")
    regions = settings.regions
    return {
        "backbone": backbone,
        "strides": settings.strides,
        "neck": FeaturePyramid(settings.width, coarser, dtype=backbone.dtype) if settings.neck == "fpn" else None,
        "box_head": BoxHead(classes, regions.hidden, regions.dropout, dtype=backbone.dtype),
        "regions": regions,
    }


def detect(settings: DetectionSettings, outputs: tuple[Array, Array], proposals: Any, size: Array) -> DetectionPrediction:
    """Section 2.2: (logits, deltas) of a batch's proposals (boxes [b, p, 4], valid [b, p]) -> its detections."""

    def of_image(logits, deltas, boxes, valid, size):
        return detections(*class_boxes_and_scores(logits, deltas, boxes), valid, size, settings)

    return per_image(of_image, *outputs, proposals.boxes, proposals.valid, size)


def warm_start_of(settings: Settings, network: FastRCNN, info: DataInfo) -> Callable[..., Any]:
    """`Task.warm_start` of this detector, and of those that have more heads."""
    epsilon = network.backbone.frozen_epsilon
    return partial(load_pretrained, settings.pretrained, settings.backbone["name"], classes=info.classes, epsilon=epsilon)


def make_task(config: Any, info: DataInfo) -> Task:
    """Fast R-CNN as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network = FastRCNN(**parts_of(settings, len(info.classes)))
    images = normalized(network.backbone)
    init, apply = bind(network, lambda batch: (*images(batch), batch.proposals.boxes))

    def sample_of(key, proposals, target):
        sample = sample_regions(key, proposals.boxes, proposals.valid, target, settings.regions)
        return sample, proposal_recall(proposals.boxes, proposals.valid, target)

    def terms_of(logits, deltas, sample, target):
        terms = box_head_terms(logits, deltas, sample, target, beta=settings.regions.beta)
        return terms, box_head_accuracy(logits, sample, target)

    def loss(params, model_state, batch, key, train):
        # In evaluation the key is fixed: the same regions are drawn every time.
        region_keys, dropout = keys_of_images(key if train else jax.random.key(0), 1, len(batch.valid))
        sample, recall = per_image(sample_of, region_keys, batch.proposals, batch.target)
        outputs, model_state = apply(params, model_state, *images(batch), sample.boxes, key=dropout, train=train)
        per = per_image(terms_of, *outputs, sample, batch.target)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        L = terms["class"] + settings.lambda_box * terms["box"]
        metrics = {f"loss/{name}": term for name, term in terms.items()} | measured
        return L, LossAux(model_state, metrics | {"proposal_recall": recall.over(batch.valid)})

    def features(params, model_state, batch):
        return apply(params, model_state, *images(batch), method="features")[0]

    def heads(params, model_state, batch):
        return apply(params, model_state, *images(batch), batch.proposals.boxes)[0]

    def predict(params, model_state, batch):
        return detect(settings.detections, heads(params, model_state, batch), batch.proposals, batch.size)

    strides, proposals = max(settings.strides), settings.proposals
    return Task(
        inputs=inputs_of(config.data, "objects", max_objects=settings.max_objects, multiple_of=strides, proposals=proposals),
        init=init,
        warm_start=warm_start_of(settings, network, info),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges, settings.detections.most),
        best=("AP", "max"),
        parts={"backbone": features, "RoI heads": heads},
    )
