"""Faster R-CNN (Ren, He, Girshick and Sun 2015, "Faster R-CNN: towards real-time object detection with region proposals").

Two modules on the same features. The region proposal network (section 3.1, heads/rpn.py) says of anchors at every position
whether there is an object, and moves them onto it: the best of them are the proposals. Fast R-CNN's head (section 3.2,
heads/box_head.py) pools each proposal from the same maps, names its class and moves it once more.

Section 3.1.1: anchors of 3 scales and 3 ratios. Section 3.1.2: L = Lcls + λ·Lreg, cross entropy of objectness and smooth
L1 of positive anchors' deltas. Section 3.1.3: 256 anchors an image, at most half of them positive; negatives fill the rest.
Section 3.2 (ii): "approximate joint training", all four losses in one step (not the 4-step alternating training); no
gradient goes through the proposals' boxes. Section 3.3: proposals are clipped to the image and suppressed at IoU 0.7; the
best are kept.

`neck` "fpn": features are those of a pyramid (Lin et al. 2017, "Feature pyramid networks for object detection", section 4),
one anchor size a level, and each proposal pooled from the level that fits its size. "none": one map of the backbone.

Deviations, all of which torchvision's `fasterrcnn_resnet50_fpn` shares: anchors that cross the image's border take part in
training; RoIAlign (He et al. 2017) in place of RoI max pooling (always with a pyramid, by config without one); Lreg is
divided by the number of anchors in the sample, not by positions, which takes the place of λ = 10; smooth L1 bends at β = 1/9
(by config in the box head).
The objects' own boxes are among the proposals in training, as in the paper's published code. One that torchvision does
not share: anchors whose middle lies in the padding of an image take no part in training.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnvision.errors import ConfigError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.box_head import RegionSample, box_head_accuracy, box_head_terms, sample_regions
from cnnvision.heads.rpn import (
    AnchorSettings,
    Proposals,
    ProposalSettings,
    RegionProposalHead,
    RPNSettings,
    matched,
    proposal_recall,
    propose,
    rpn_terms,
)
from cnnvision.models import fast_rcnn
from cnnvision.models.binding import Apply, Init, bind, inputs_of, keys_of_images, normalized, trainable_with
from cnnvision.ops.anchors import anchors_of_maps
from cnnvision.ops.images import per_image
from cnnvision.settings import Weight, read
from cnnvision.task import DataInfo, LossAux, Matched, Mean, Task
from cnnvision.types import Array, Batch, DetectionPrediction


@dataclasses.dataclass(frozen=True)
class Settings(fast_rcnn.Settings):
    """`config.model`: Fast R-CNN's settings, and those of the region proposal network."""

    name: str = "faster_rcnn"
    anchors: AnchorSettings = AnchorSettings()  # a pyramid has one map more than there are strides, for the RPN alone
    rpn: RPNSettings = RPNSettings()
    proposals: ProposalSettings = ProposalSettings()
    lambda_rpn: Weight = 1.0  # L = objectness + lambda_rpn · rpn_box + class + lambda_box · box

    def __post_init__(self):
        super().__post_init__()
        maps = len(self.strides) + (self.neck == "fpn")
        if len(self.anchors.sizes) != maps:
            also = ", and one coarser" if self.neck == "fpn" else ""
            raise ConfigError(
                f"anchors.sizes = {self.anchors.sizes}: must be a tuple of sizes for each of {maps} maps (strides "
                f"{self.strides}{also})"
            )


class FasterRCNN(fast_rcnn.FastRCNN):
    """Two modules on the same maps. Attributes: rpn, and those of `FastRCNN`."""

    rpn: RegionProposalHead

    def __call__(self, image: Array, valid: Array, boxes: Array, train: bool) -> tuple[Any, Any]:
        """Everything once: normalised images and boxes [b, r, 4] -> what the two modules give."""
        maps = self.features(image, valid, train)
        return self.objectness(maps, train), self.classify(maps, boxes, train)

    def objectness(self, maps: Mapping[int, Array], train: bool) -> tuple[Array, Array]:
        """Maps by stride -> objectness [b, n] (logits) and deltas [b, n, 4] of each anchor; `train` changes nothing."""
        return self.rpn(maps)


def parts_of(settings: Settings, classes: int) -> dict[str, Any]:
    """The attributes of `FasterRCNN` that settings describe; each map has equally many anchors at a position
    (`AnchorSettings`)."""
    parts = fast_rcnn.parts_of(settings, classes, coarser=1)
    of_position = len(settings.anchors.sizes[0]) * len(settings.anchors.ratios)
    return {**parts, "rpn": RegionProposalHead(of_position, dtype=parts["backbone"].dtype)}


def make_network(settings: Settings, classes: int) -> FasterRCNN:
    """The module that settings describe."""
    return FasterRCNN(**parts_of(settings, classes))


class Proposed(NamedTuple):
    """Attributes: maps by stride; anchors: of each map, [n, 4] x1 y1 x2 y2, input pixels; objectness: logits of all anchors
    [b, n]; proposals: the best of them, moved and suppressed."""

    maps: dict[int, Array]
    anchors: list[Array]
    objectness: Array
    proposals: Proposals


class Terms(NamedTuple):
    """Attributes: terms of the loss by name: "objectness", "rpn_box", "class", "box"; metrics; the maps and the sample of
    regions that they are of; the new model state."""

    terms: dict[str, Mean]
    metrics: dict[str, Mean]
    maps: dict[int, Array]
    sample: RegionSample
    model_state: Any


@dataclasses.dataclass(frozen=True)
class Stages:
    """The network's stages, and the terms of its loss, as functions of its parameters. (Mask R-CNN goes on from these.)

    Attributes:
        settings: of the model.
        apply: of the network (models/binding.py).
        images: batch -> its normalised images, and which are valid.
    """

    settings: Settings
    apply: Apply
    images: Callable[[Batch], tuple[Array, Array]]

    def features(self, params: Any, model_state: Any, batch: Batch) -> dict[int, Array]:
        """Maps by stride."""
        return self.apply(params, model_state, *self.images(batch), method="features")[0]

    def anchors(self, maps: Mapping[int, Array], batch: Batch) -> list[np.ndarray]:
        """Those of each map, [n, 4] x1 y1 x2 y2, input pixels (section 3.1.1)."""
        settings = self.settings.anchors
        return anchors_of_maps(maps, batch.image.shape[1:3], settings.sizes, settings.ratios)

    def propose(self, maps: Mapping[int, Array], outputs: Any, batch: Batch, train: bool) -> tuple[Any, Proposals]:
        """Anchors of each map (section 3.1.1), and the proposals of each image (section 3.3), constants of the loss."""
        settings, anchors = self.settings, self.anchors(maps, batch)
        (before, most), threshold = settings.proposals.limits(train), settings.proposals.threshold
        of_image = partial(propose, anchors=anchors, before=before, most=most, threshold=threshold)
        return anchors, per_image(of_image, *lax.stop_gradient(outputs), batch.size)

    def matches(self, params: Any, model_state: Any, batch: Batch) -> dict[str, Matched]:
        """The anchors that stand for objects (section 3.1.2)."""
        anchors = np.concatenate(self.anchors(self.features(params, model_state, batch), batch))  # of the maps' shapes alone

        def of_image(target, size):
            found = matched(jnp.asarray(anchors), target, size, self.settings.rpn)
            return Matched(jnp.asarray(anchors), found.object, found.positive)

        return {"anchors": per_image(of_image, batch.target, batch.size)}

    def proposals(self, params: Any, model_state: Any, batch: Batch) -> Proposed:
        """What the region proposal network finds in each image."""
        maps = self.features(params, model_state, batch)
        outputs, _ = self.apply(params, model_state, maps, method="objectness")
        anchors, found = self.propose(maps, outputs, batch, train=False)
        return Proposed(maps, [jnp.asarray(of_map) for of_map in anchors], outputs[0], found)

    def heads(self, params: Any, model_state: Any, batch: Batch) -> tuple[dict[int, Array], Any, tuple[Array, Array]]:
        """Maps, proposals, and the logits and deltas of each."""
        maps, _, _, found = self.proposals(params, model_state, batch)
        return maps, found, self.apply(params, model_state, maps, found.boxes, method="classify")[0]

    def detections(self, params: Any, model_state: Any, batch: Batch) -> tuple[dict[int, Array], DetectionPrediction]:
        """Maps and detections."""
        maps, found, outputs = self.heads(params, model_state, batch)
        return maps, fast_rcnn.detect(self.settings.detections, outputs, found, batch.size)

    def terms(self, params: Any, model_state: Any, batch: Batch, key: Any, train: bool) -> Terms:
        """Section 3.2 (ii): both modules on the same features, the second on a sample of what the first proposes now."""
        settings, apply = self.settings, self.apply
        # In evaluation the key is fixed: the same anchors and regions are drawn every time. One key for each image to draw
        # anchors, one to draw regions, and one for the batch's dropout.
        anchor_keys, region_keys, dropout = keys_of_images(key if train else jax.random.key(0), 2, len(batch.valid))
        maps, model_state = apply(params, model_state, *self.images(batch), train=train, method="features")
        # RPN and box head have no running statistics: features alone change the model's state.
        rpn_outputs, _ = apply(params, model_state, maps, train=train, method="objectness")
        anchors, proposals = self.propose(maps, rpn_outputs, batch, train)

        def sample_of(key, found, target):
            sample = sample_regions(key, found.boxes, found.valid, target, settings.regions)
            return sample, proposal_recall(found.boxes, found.valid, target)

        sample, recall = per_image(sample_of, region_keys, proposals, batch.target)
        outputs, _ = apply(params, model_state, maps, sample.boxes, key=dropout, train=train, method="classify")

        def terms_of(key, objectness, rpn_deltas, logits, deltas, sample, target, size):
            all_anchors = jnp.asarray(np.concatenate(anchors))
            terms = rpn_terms(key, objectness, rpn_deltas, all_anchors, target, size, settings.rpn)
            terms |= box_head_terms(logits, deltas, sample, target, beta=settings.regions.beta)
            return terms, box_head_accuracy(logits, sample, target)

        per = per_image(terms_of, anchor_keys, *rpn_outputs, *outputs, sample, batch.target, batch.size)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        return Terms(terms, measured | {"proposal_recall": recall.over(batch.valid)}, maps, sample, model_state)


def stages_of(kind: type[Stages], settings: Settings, network: FasterRCNN) -> tuple[Init, Any]:
    """`Task.init` of a network, and its stages, a `kind` of `Stages`."""
    images = normalized(network.backbone)
    init, apply = bind(network, lambda batch: (*images(batch), jnp.zeros((len(batch.valid), 1, 4))))
    return init, kind(settings, apply, images)


def make_task(config: Any, info: DataInfo) -> Task:
    """Faster R-CNN as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network = make_network(settings, len(info.classes))
    init, stages = stages_of(Stages, settings, network)

    def loss(params, model_state, batch, key, train):
        terms, metrics, _, _, model_state = stages.terms(params, model_state, batch, key, train)
        L = (
            terms["objectness"] + settings.lambda_rpn * terms["rpn_box"]
            + terms["class"] + settings.lambda_box * terms["box"]
        )  # fmt: skip
        return L, LossAux(model_state, {f"loss/{name}": term for name, term in terms.items()} | metrics)

    return Task(
        inputs=inputs_of(config.data, "objects", max_objects=settings.max_objects, multiple_of=max(settings.strides)),
        init=init,
        warm_start=fast_rcnn.warm_start_of(settings, network, info),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=lambda params, model_state, batch: stages.detections(params, model_state, batch)[1],
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges, settings.detections.most),
        best=("AP", "max"),
        parts={"backbone": stages.features, "proposals": stages.proposals, "RoI heads": stages.heads},
        matches=stages.matches,
    )
