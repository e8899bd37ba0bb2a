"""Mask R-CNN (He, Gkioxari, Dollár and Girshick 2017, "Mask R-CNN").

Faster R-CNN with one more head: beside the class and the box of a region, a mask, in parallel to both (section 3).

Section 3, "Mask R-CNN": on each sampled region the multi-task loss is L = Lcls + Lbox + Lmask. The mask branch has a plane
of m × m logits for each class; Lmask is the average binary cross entropy on the plane of the true class, of positive regions
alone, so that classes do not compete. "Mask Representation": the target is the part of the object's mask in the region
(ops/masks.py). "RoIAlign": nothing is rounded on the way from the region to the bins. "Network Architecture": with a pyramid
the head is four 3×3 convolutions on 14×14 bins, a transposed convolution and a 1×1 convolution to 28×28 (figure 4, right).
Section 3.1, "Inference": the mask branch sees the final detections alone, and the plane of the predicted class is the mask.
It is resized to the box and cut at .5 (evaluation/pasting.py).

Deviations, which torchvision's `maskrcnn_resnet50_fpn` shares: those of Faster R-CNN (models/faster_rcnn.py); targets are
RoIAlign's means of the mask, 0 to 1, not binary; without a pyramid the head has the same layers (the paper's takes the
backbone's last stage: figure 4, left); targets lie half a pixel off, and pasted masks are too large, unless
`masks.alignment` is "exact" (ops/masks.py, evaluation/pasting.py). One that torchvision does not share: a batch holds masks
cropped to their boxes in a fixed number of cells (heads/mask_head.py says what that costs).
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnnvision.errors import ConfigError
from cnnvision.evaluation.instances import InstanceEvaluator
from cnnvision.heads.box_head import RegionSample, pool_regions
from cnnvision.heads.mask_head import MaskHead, MaskSettings, class_masks, mask_loss
from cnnvision.models import fast_rcnn, faster_rcnn
from cnnvision.models.binding import inputs_of, trainable_with
from cnnvision.ops.images import over_used, per_image, sum_over_used
from cnnvision.ops.masks import mask_targets
from cnnvision.settings import Weight, read
from cnnvision.task import DataInfo, LossAux, Mean, Task
from cnnvision.types import Array, Batch, InstancePrediction


@dataclasses.dataclass(frozen=True)
class Settings(faster_rcnn.Settings):
    """`config.model`: Faster R-CNN's settings, and those of the mask head."""

    name: str = "mask_rcnn"
    masks: MaskSettings = MaskSettings()
    lambda_mask: Weight = 1.0  # L = objectness + lambda_rpn · rpn_box + class + lambda_box · box + lambda_mask · mask

    def __post_init__(self):
        super().__post_init__()
        if not self.positives:
            number, share = self.regions.number, self.regions.share
            raise ConfigError(
                f"regions.share = {share}: of {number} regions none could be positive, and masks learn of those"
            )

    @property
    def positives(self) -> int:
        """Regions of an image that can be positive: the first of its sample."""
        return int(self.regions.number * self.regions.share)


class MaskRCNN(faster_rcnn.FasterRCNN):
    """Three heads on the same maps. Attributes: mask_head; bins along each side of what it sees; those of `FasterRCNN`."""

    mask_head: MaskHead
    bins: int

    def __call__(self, image: Array, valid: Array, boxes: Array, train: bool) -> tuple[Any, Any, Array]:
        """Everything once: normalised images and boxes [b, r, 4] -> what the three heads give."""
        maps = self.features(image, valid, train)
        return self.objectness(maps, train), self.classify(maps, boxes, train), self.masks(maps, boxes, train)

    def masks(self, maps: Mapping[int, Array], boxes: Array, train: bool) -> Array:
        """Maps by stride and boxes [b, r, 4] -> mask logits [b, r, m, m, 1 + k] within each box; `train` changes nothing."""
        maps = {stride: maps[stride] for stride in self.strides}
        align = dataclasses.replace(self.regions, size=self.bins, pooling="align")
        return self.mask_head(per_image(partial(pool_regions, settings=align), maps, boxes))


def make_network(settings: Settings, classes: int) -> MaskRCNN:
    """The module that settings describe."""
    parts = faster_rcnn.parts_of(settings, classes)
    head = MaskHead(classes, settings.masks.channels, dtype=parts["backbone"].dtype)
    return MaskRCNN(**parts, mask_head=head, bins=settings.masks.size)


class Stages(faster_rcnn.Stages):
    """Faster R-CNN's stages, and the mask branch, which sees positive regions alone, and detections that there are."""

    def mask_term(self, params: Any, batch: Batch, maps: Mapping[int, Array], sample: RegionSample, train: bool) -> Mean:
        """Lmask of a sample's regions: a mean over those that are positive."""
        settings, target = self.settings, batch.target
        sample = jax.tree.map(lambda leaf: leaf[:, : settings.positives], sample)  # the positive regions are the first
        longest = math.ceil(max(batch.image.shape[1:3]) / (2 * settings.masks.size))  # bin of a target, pixels

        def losses_of(learnt, rows, sample):
            (head, maps), (target, size) = learnt, rows
            logits, _ = self.apply(head, {}, maps, sample.boxes, train=train, method="masks")

            def of_image(logits, sample, target, size):
                there = (target.masks, target.boxes, sample.object, sample.boxes, size)
                targets = mask_targets(*there, logits.shape[1], longest, settings.masks.alignment)
                return mask_loss(logits, target.labels[sample.object], targets)

            return per_image(of_image, logits, sample, target, size)

        positive, chunk = sample.positive & batch.valid[:, None], settings.masks.chunk
        total = sum_over_used(losses_of, _head(params), maps, (target, batch.size), sample, positive, chunk)
        return Mean(total, jnp.sum(positive, dtype=jnp.float32))

    def instances(self, params: Any, model_state: Any, batch: Batch) -> InstancePrediction:
        """Section 3.1, "Inference": detections, and the mask of each, in the plane of its class."""
        maps, found = self.detections(params, model_state, batch)

        def masks_of(head, maps, found):
            logits, _ = self.apply(head, {}, maps, found.boxes, method="masks")
            return per_image(class_masks, logits, found.labels)

        masks = over_used(masks_of, _head(params), maps, found, found.valid, self.settings.masks.chunk)
        return InstancePrediction(**vars(found), masks=masks, alignment=self.settings.masks.alignment)


def _head(params: Any) -> dict[str, Any]:
    """The parameters that the mask branch has for itself."""
    return {"mask_head": params["mask_head"]}


def make_task(config: Any, info: DataInfo) -> Task:
    """Mask R-CNN as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network = make_network(settings, len(info.classes))
    init, stages = faster_rcnn.stages_of(Stages, settings, network)

    def loss(params, model_state, batch, key, train):
        terms, metrics, maps, sample, model_state = stages.terms(params, model_state, batch, key, train)
        terms = {**terms, "mask": stages.mask_term(params, batch, maps, sample, train)}
        L = (
            terms["objectness"] + settings.lambda_rpn * terms["rpn_box"]
            + terms["class"] + settings.lambda_box * terms["box"] + settings.lambda_mask * terms["mask"]
        )  # fmt: skip
        return L, LossAux(model_state, {f"loss/{name}": term for name, term in terms.items()} | metrics)

    inputs = dict(max_objects=settings.max_objects, mask_side=settings.masks.cells, multiple_of=max(settings.strides))
    return Task(
        inputs=inputs_of(config.data, "objects", **inputs),
        init=init,
        warm_start=fast_rcnn.warm_start_of(settings, network, info),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=stages.instances,
        evaluator=lambda: InstanceEvaluator(info.classes, info.area_ranges, settings.detections.most),
        best=("mask_AP", "max"),
        matches=stages.matches,
        parts={
            "backbone": stages.features,
            "proposals": stages.proposals,
            "RoI heads": stages.heads,
            "post-processing": stages.detections,
            "masks": stages.instances,
        },
    )
