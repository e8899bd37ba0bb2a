"""Detection by classifying many crops: the baseline that R-CNN answered.

The localizer (models/localizer.py) looks at one crop of the image at a time: is it an object, of which class, and where
exactly does it lie? A crop's box is mapped back into the image, and of those that overlap the best stays. Crops come from
nowhere in particular: boxes of any position, size and shape, or a grid of them (data/wrappers/proposals.py).

Sermanet et al. 2014 ("OverFeat"), sections 4 and 5, and Girshick et al. 2014 ("Rich feature hierarchies"), section 1, tell
what came before region proposals: sliding windows over scales.

    L = α·Lc + (1 − α)·Lr,    α = 0.5 by default

Lc is the cross entropy of classes and background over the crops that are drawn, Lr the regression loss of those that hold an
object.

Deviations: no paper is followed. Crops to learn from are drawn as Fast R-CNN draws regions, the objects' own boxes among
them: of random crops alone, hardly any would hold an object.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.box_regression import BOX_LOSSES
from cnnvision.heads.classification import accuracy, class_loss
from cnnvision.inputs import ProposalSpec
from cnnvision.models import localizer
from cnnvision.models.binding import bind, inputs_of, keys_of_images, trainable_with
from cnnvision.models.crops import CropSettings, check_side, cutter, draw, in_chunks
from cnnvision.ops.boxes import from_fractions, to_fractions
from cnnvision.ops.detections import detections
from cnnvision.ops.images import per_image
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import read
from cnnvision.task import DataInfo, LossAux, Mean, Task


@dataclasses.dataclass(frozen=True)
class Settings(CropSettings, localizer.Network):
    """`config.model`: the localizer's settings, and those of its crops."""

    name: str = "random_crops"
    proposals: ProposalSpec = ProposalSpec("random", 400)


def within(boxes: Float[Array, "*n 4"], crops: Float[Array, "*n 4"], side: int) -> Float[Array, "*n 4"]:
    """Boxes in the pixels of the image -> in those of the crops, each `side` pixels wide and high."""
    corner, sides = crops[..., :2], jnp.maximum(crops[..., 2:] - crops[..., :2], 1e-3)
    moved = [(boxes[..., i : i + 2] - corner) / sides * side for i in (0, 2)]
    return jnp.concatenate(moved, axis=-1)


def outside(fractions: Float[Array, "*n 4"], crops: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """(x, y, w, h) as fractions of crops -> x1 y1 x2 y2 in the pixels of the image; they may reach beyond the crop."""
    corner, sides = crops[..., :2], crops[..., 2:] - crops[..., :2]
    boxes = from_fractions(fractions, 1, 1)
    return jnp.concatenate([corner + boxes[..., i : i + 2] * sides for i in (0, 2)], axis=-1)


def make_task(config: Any, info: DataInfo) -> Task:
    """The random-crop detector as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings = read(Settings, config.model, "config.model")
    network, alpha, side = localizer.make_network(settings, 1 + len(info.classes)), settings.alpha, settings.side
    check_side(settings, network.stride)
    crops_of = cutter(network.backbone, side)
    init, apply = bind(network, lambda batch: crops_of(batch, batch.proposals.boxes[:, :1], batch.proposals.valid[:, :1]))

    def loss(params, model_state, batch, key, train):
        # Where nothing may be random, the same crops are drawn every time.
        crop_keys, dropout = keys_of_images(key if train else jax.random.key(0), 1, len(batch.valid))
        sample, labels, recall = draw(settings, crop_keys, batch)
        truth = jnp.take_along_axis(batch.target.boxes, sample.object[..., None], axis=1)
        truth = within(truth, sample.boxes, side)
        crops, valid = crops_of(batch, sample.boxes, sample.valid)
        outputs, model_state = apply(params, model_state, crops, valid, key=dropout, train=train)
        (logits, fractions), labels, truth = outputs, labels.reshape(-1), truth.reshape(-1, 4)
        positive = valid & sample.positive.reshape(-1)
        Lc = class_loss(logits, labels, valid, settings.label_smoothing)
        Lr = Mean.of(BOX_LOSSES[settings.box_loss](fractions, to_fractions(truth, side, side)), positive)
        L = alpha * Lc + (1.0 - alpha) * Lr
        metrics = {"loss/class": Lc, "loss/box": Lr, "proposal_recall": recall.over(batch.valid)}
        metrics["region_accuracy"] = accuracy(logits, labels, valid)
        return L, LossAux(model_state, metrics | {"foreground_accuracy": accuracy(logits, labels, positive)})

    def features(params, model_state, batch):
        def look(boxes, valid):
            maps, _ = apply(params, model_state, *crops_of(batch, boxes, valid), method="features")
            return maps.reshape(*boxes.shape[:2], -1)

        return in_chunks(look, batch.proposals.boxes, batch.proposals.valid, settings.chunk)

    def heads(params, model_state, batch):
        def look(boxes, valid):
            (logits, fractions), _ = apply(params, model_state, *crops_of(batch, boxes, valid))
            scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:]
            return scores.reshape(*boxes.shape[:2], -1), outside(fractions.reshape(boxes.shape), boxes)

        return in_chunks(look, batch.proposals.boxes, batch.proposals.valid, settings.chunk)

    def predict(params, model_state, batch):
        def of_image(scores, boxes, valid, size):
            of_class = jnp.broadcast_to(boxes[:, None], (*scores.shape, 4))
            return detections(of_class, scores, valid, size, settings.detections)

        scores, boxes = heads(params, model_state, batch)
        return per_image(of_image, scores, boxes, batch.proposals.valid, batch.size)

    return Task(
        inputs=inputs_of(config.data, "objects", max_objects=settings.max_objects, proposals=settings.proposals),
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, settings.backbone["name"], head="class_head"),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges),
        best=("AP", "max"),
        parts={"backbone": features, "RoI heads": heads},
    )
