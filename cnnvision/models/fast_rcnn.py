"""Fast R-CNN (Girshick 2015, "Fast R-CNN").

Section 2: the convolutional layers see the whole image once. Section 2.1: of each proposal, RoI max pooling takes a grid of
7×7 bins from their last map. Fully connected layers lead to two sibling outputs: a softmax over the classes and the
background, and four numbers for each class that move the proposal onto the object. Proposals come from elsewhere: selective
search (cnnvision/data/wrappers/proposals.py).

Section 2.3: the layers are trained together on L = Lcls + λ [u ≥ 1] Lloc, λ = 1, smooth L1 with its bend at 1. "Mini-batch
sampling": of R = 128 regions from N = 2 images, 25 % have an IoU of at least 0.5 with an object, the others of 0.1 to 0.5.
Section 2.2: detections are suppressed class by class.

`neck` "fpn" and RoIAlign by config: what Faster R-CNN is compared with on equal terms.

Deviations: the objects' own boxes are among the proposals in training, as in the published code; the targets of boxes are
divided by constants, (0.1, 0.1, 0.2, 0.2), in place of the standard deviations of the training data; the optimizer is the
config's, with one learning rate for weights and biases.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from cnnvision.backbones import make_backbone
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.box_head import BoxHead, box_head_accuracy, box_head_terms, sample_regions
from cnnvision.heads.rpn import recalled
from cnnvision.models import regions
from cnnvision.models.binding import bind, normalized, trainable_with
from cnnvision.necks.fpn import FeaturePyramid
from cnnvision.ops.per_image import per_image
from cnnvision.pretrained.start import warm_start
from cnnvision.task import DataInfo, LossAux, Task
from cnnvision.types import Array


class FastRCNN(nn.Module):
    """Attributes: backbone; strides of its maps that are used; neck, or None; box_head; pool: see `regions.Pool`."""

    backbone: nn.Module
    strides: Sequence[int]
    neck: FeaturePyramid | None
    box_head: BoxHead
    pool: regions.Pool

    def __call__(self, image: Array, valid: Array, boxes: Array, train: bool) -> tuple[Array, Array]:
        """Normalised images and boxes [b, r, 4], input pixels -> logits [b, r, 1 + k], deltas [b, r, 1 + k, 4]."""
        return self.box_head(per_image(self.pool, self.features(image, valid, train), boxes), train)

    def features(self, image: Array, valid: Array, train: bool) -> dict[int, Array]:
        """Normalised images -> maps by stride."""
        return regions.maps_of(self.backbone(image, train, valid), self.strides, self.neck)[1]


def make_network(model: Any, classes: int) -> FastRCNN:
    """The module that `config.model` describes."""
    backbone = make_backbone(**model.backbone)
    return FastRCNN(
        backbone=backbone,
        strides=regions.check_regions(model, backbone.strides),
        neck=regions.neck_of(model, backbone, coarser=False),
        box_head=regions.head_of(model, classes, backbone),
        pool=regions.pool_of(model),
    )


def make_task(config: Any, info: DataInfo) -> Task:
    """Fast R-CNN as the training loop sees it.

    Args:
        config: `model` holds what configs/fast_rcnn_shapes.py sets; `data` holds size and resize.
        info: the classes.
    """
    model = config.model
    network = make_network(model, len(info.classes))
    proposals = regions.check_proposals(model.proposals)
    images = normalized(network.backbone)
    init, apply = bind(network, lambda batch: (*images(batch), batch.proposals.boxes))

    def loss(params, model_state, batch, key, train):
        # Where nothing may be random, the same regions are drawn every time.
        of_regions, dropout = regions.keys_of_images(key if train else jax.random.key(0), 1, len(batch.valid))

        def sample_of_image(key, proposed, target):
            sample = sample_regions(key, proposed.boxes, proposed.valid, target, **regions.sampling_of(model))
            return sample, recalled(proposed.boxes, proposed.valid, target)

        sample, recall = per_image(sample_of_image, of_regions, batch.proposals, batch.target)
        answers, model_state = apply(params, model_state, *images(batch), sample.boxes, key=dropout, train=train)

        def of_image(logits, deltas, sample, target):
            terms = box_head_terms(logits, deltas, sample, target, beta=model.regions.beta)
            return terms, box_head_accuracy(logits, sample, target)

        per = per_image(of_image, *answers, sample, batch.target)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        L = terms["class"] + model.lambda_box * terms["box"]
        metrics = {f"loss/{name}": term for name, term in terms.items()} | measured
        return L, LossAux(model_state, metrics | {"proposal_recall": recall.over(batch.valid)})

    def backbone(params, model_state, batch):
        return apply(params, model_state, *images(batch), method="features")[0]

    def heads(params, model_state, batch):
        return apply(params, model_state, *images(batch), batch.proposals.boxes)[0]

    def predict(params, model_state, batch):
        logits, deltas = heads(params, model_state, batch)
        return regions.find_all(model, logits, deltas, batch.proposals.boxes, batch.proposals.valid, batch.size)

    return Task(
        inputs=regions.object_inputs(config, network.strides, proposals),
        init=init,
        warm_start=warm_start(model.pretrained, model.backbone.name, classes=info.classes),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges),
        best=("AP", "max"),
        parts={"backbone": backbone, "RoI heads": heads},
    )
