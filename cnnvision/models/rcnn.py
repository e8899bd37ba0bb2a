"""R-CNN (Girshick et al. 2014, "Rich feature hierarchies for accurate object detection and semantic segmentation").

Section 2: category-independent region proposals (selective search, data/wrappers/proposals.py), a convolutional network
that turns each of them into a feature vector of fixed length, and a linear SVM for each class. Section 2.1: whatever its
shape, a region is warped to the network's input with p = 16 pixels of context around it. Section 2.2: every region is scored
by every class, and detections are suppressed class by class.

Three stages, each on what the one before gave:
    1. Section 2.3, "Domain-specific fine-tuning": the network, trained elsewhere, learns to tell K classes and the
       background from warped regions. Regions with an IoU of at least 0.5 with an object are positives of its class; a batch
       has 32 of them and 96 of background.
    2. Section 2.3, "Object category classifiers": an SVM for each class on the last hidden layer (fc7). Positives are the
       objects' own boxes, negatives the regions with an IoU below 0.3 with all objects of the class
       (cnnvision/heads/linear_svm.py).
    3. Section 3.5 and appendix C, "Bounding-box regression": for each class a ridge regression from the last feature map
       (pool5) to the deltas of the object (cnnvision/heads/ridge_boxes.py).

Before stage 2 the softmax of stage 1 scores the regions, which is the comparison of appendix B; before stage 3 boxes stay
where they were proposals. Evaluated after each stage, a run shows what each of them brings.

Deviations: a batch's regions come from a few images, not from all; the objects' own boxes are among them. Scores are 1 / (1
+ exp(−margin)), which keeps the order of the margins and lies between 0 and 1; it is no probability. The box regression
moves all regions before the suppression (as Fast R-CNN does), not those that are left, and learns from `boxes.number`
regions of an image, drawn among those that overlap an object enough, not from all of them. By config, the last two stages
look at the first images alone (`svm.examples`, `boxes.examples`).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads.classification import ClassificationHead, accuracy, class_loss
from cnnvision.heads.linear_svm import fit_svms
from cnnvision.heads.ridge_boxes import fit_boxes
from cnnvision.models.binding import bind, chosen_stride, inputs_of, keys_of_images, trainable_with
from cnnvision.models.crops import CropSettings, check_side, cutter, draw, in_chunks
from cnnvision.ops.boxes import covered, decode, encode, iou, pairwise
from cnnvision.ops.detections import detections
from cnnvision.ops.images import per_image
from cnnvision.ops.matching import match, sample_balanced
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import Between, Count, Dropout, Share, read
from cnnvision.task import DataInfo, HostStage, Loss, LossAux, Task
from cnnvision.types import Array, ObjectTarget

Look = Callable[[Array, Array], tuple[Array, Array, Array]]
"""(boxes [b, r, 4], valid [b, r]) -> logits, fc7 and pool5, each [b, r, ...]."""


@dataclasses.dataclass(frozen=True)
class SVMSettings:
    """Stage 2."""

    examples: Count | None = 500  # images to fit to, the first; None for all
    C: Annotated[float, Between(1e-9, 10**6)] = 0.001  # the published code's
    negative_below: Share = 0.3  # IoU with all objects of a class (section 2.3)
    passes: Annotated[int, Between(1, 100)] = 1  # over the images, in search of hard negatives


@dataclasses.dataclass(frozen=True)
class BoxSettings:
    """Stage 3."""

    examples: Count | None = 500  # images to fit to, the first; None for all
    number: Count = 40  # regions of an image
    positive_from: Share = 0.6  # IoU with the object (appendix C)
    regularization: Annotated[float, Between(1e-9, 10**9)] = 1000.0  # λ (appendix C)


@dataclasses.dataclass(frozen=True)
class Settings(CropSettings):
    """`config.model`."""

    name: str = "rcnn"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    stride: int | None = None  # of the backbone's map that is used; None for the last
    hidden: tuple[Count, ...] = (4096, 4096)  # widths of the fully connected layers; the last is what the SVMs see
    dropout: Dropout = 0.0
    context: Annotated[int, Between(0, 10**4)] = 16  # pixels of a crop on each side that show what lies around the region
    svm: SVMSettings = SVMSettings()
    boxes: BoxSettings = BoxSettings()

    def __post_init__(self):
        super().__post_init__()
        if 2 * self.context >= self.side:
            raise ConfigError(f"context = {self.context}: must be less than half of side = {self.side}")


class RCNN(nn.Module):
    """Attributes: backbone; stride of its map that is used; class_head."""

    backbone: nn.Module
    stride: int
    class_head: ClassificationHead

    def __call__(self, crops: Array, valid: Array, train: bool) -> tuple[Array, Array, Array]:
        """Normalised crops -> logits [n, 1 + k], fc7 [n, d], pool5 [n, e]; the papers' names, whatever the backbone."""
        features = self.backbone(crops, train, valid)[self.stride]
        logits, hidden = self.class_head.with_hidden(features, train)
        return logits, hidden, features.reshape(len(features), -1).astype(jnp.float32)


def make_network(settings: Settings, classes: int) -> RCNN:
    """The module that settings describe."""
    backbone = make_backbone(**settings.backbone)
    stride = chosen_stride(settings.stride, backbone)
    head = ClassificationHead(1 + classes, "flatten", settings.hidden, settings.dropout, backbone.dtype)
    return RCNN(backbone, stride, head)


def examples_of_classes(boxes: Array, valid: Array, target: ObjectTarget, classes: int, below: float) -> tuple[Array, Array]:
    """Positive and negative SVM examples of each class, both bool [p + m, k], among one image's proposals [p, 4], then its
    ground-truth boxes [m, 4]. Boxes covered by a crowd by at least `below` are neither.
    """
    there = jnp.concatenate([valid, target.valid & ~target.crowd])
    all_boxes = jnp.concatenate([boxes, target.boxes])
    overlaps = jnp.where(
        target.crowd[None], pairwise(covered, all_boxes, target.boxes), pairwise(iou, all_boxes, target.boxes)
    )
    of_class = (target.labels[:, None] == jnp.arange(classes)[None]) & target.valid[:, None]  # [m, k]
    highest = jnp.max(jnp.where(of_class[None], overlaps[:, :, None], 0.0), axis=1, initial=0.0)
    own = jnp.concatenate([jnp.zeros((len(boxes), classes), bool), of_class])
    return own & there[:, None], (highest < below) & ~own & there[:, None]


def svm_stage(settings: Settings, classes: int, look_at: Callable[..., Look]) -> HostStage:
    """Stage 2: an SVM for each class on fc7."""

    def outputs(params, model_state, batch):
        look, proposals, objects = look_at(params, model_state, batch), batch.proposals, batch.target
        fc7 = in_chunks(lambda *region: look(*region)[1], proposals.boxes, proposals.valid, settings.chunk)
        below = settings.svm.negative_below
        of_image = lambda boxes, valid, target: examples_of_classes(boxes, valid, target, classes, below)
        positive, negative = per_image(of_image, proposals.boxes, proposals.valid, objects)
        features = jnp.concatenate([fc7, look(objects.boxes, objects.valid)[1]], axis=1)
        valid = jnp.any(positive | negative, axis=-1)
        return {"features": features, "valid": valid, "positive": positive, "negative": negative}

    def fit(params, read):
        kernel, bias = fit_svms(read, classes, C=settings.svm.C, passes=settings.svm.passes)
        return {**params, "svm": {"kernel": kernel, "bias": bias, "fitted": jnp.ones(())}}

    return HostStage("SVMs", settings.svm.examples, outputs, fit)


def box_stage(settings: Settings, classes: int, look_at: Callable[..., Look]) -> HostStage:
    """Stage 3: a regression of boxes for each class on pool5, from regions of each image that overlap an object enough."""
    most = min(settings.boxes.number, settings.proposals.most)

    def outputs(params, model_state, batch):
        def of_image(number, boxes, valid, target):
            near = match(boxes, target.boxes, target.valid, target.crowd, settings.boxes.positive_from, 0.0)
            key = jax.random.fold_in(jax.random.key(0), number)  # the same regions, whatever else is in the batch
            drawn = sample_balanced(key, near.positive & valid, jnp.zeros_like(valid), most, share=1.0)
            chosen, objects = boxes[drawn.index], near.object[drawn.index]
            return chosen, drawn.valid, target.labels[objects], encode(target.boxes[objects], chosen)

        proposals = batch.proposals
        boxes, valid, labels, deltas = per_image(of_image, batch.index, proposals.boxes, proposals.valid, batch.target)
        pool5 = look_at(params, model_state, batch)(boxes, valid)[2]
        return {"features": pool5, "valid": valid, "labels": labels, "deltas": deltas}

    def fit(params, read):
        kernel, bias = fit_boxes(read, classes, settings.boxes.regularization)
        return {**params, "boxes": {"kernel": kernel, "bias": bias}}

    return HostStage("box regression", settings.boxes.examples, outputs, fit)


def unfitted(fc7: Array, pool5: Array, classes: int) -> dict[str, Any]:
    """What the second and third stage give, before them: zeros."""
    svm = {"kernel": jnp.zeros((fc7.shape[-1], classes)), "bias": jnp.zeros(classes), "fitted": jnp.zeros(())}
    return {"svm": svm, "boxes": {"kernel": jnp.zeros((classes, pool5.shape[-1], 4)), "bias": jnp.zeros((classes, 4))}}


def scored(params: Any, boxes: Array, logits: Array, fc7: Array, pool5: Array) -> tuple[Array, Array]:
    """Regions [b, r, 4] -> of each class scores [b, r, k], by the SVMs where they are fitted, and boxes [b, r, k, 4]."""
    svm, regression = params["svm"], params["boxes"]
    margins, softmax = fc7 @ svm["kernel"] + svm["bias"][None, None], jax.nn.softmax(logits, axis=-1)[..., 1:]
    deltas = jnp.einsum("brd,kde->brke", pool5, regression["kernel"]) + regression["bias"][None, None]
    moved = decode(deltas, jnp.broadcast_to(boxes[:, :, None], deltas.shape))
    return jnp.where(svm["fitted"] > 0, jax.nn.sigmoid(margins), softmax), moved


def make_task(config: Any, info: DataInfo) -> Task:
    """R-CNN as the training loop sees it: stage 1, and the others as its `host_stages`.

    Args:
        config: `model` holds `Settings`; `data` holds size and resize.
        info: the classes.
    """
    settings, classes = read(Settings, config.model, "config.model"), len(info.classes)
    network = make_network(settings, classes)
    check_side(settings, network.stride)
    crops_of = cutter(network.backbone, settings.side, settings.context)
    of_batch = lambda batch: crops_of(batch, batch.proposals.boxes[:, :1], batch.proposals.valid[:, :1])
    init_network, apply = bind(network, of_batch)

    def init(key, batch):
        params, model_state = init_network(key, batch)
        _, fc7, pool5 = jax.eval_shape(lambda p, s, b: apply(p, s, *of_batch(b))[0], params, model_state, batch)
        return {**params, **unfitted(fc7, pool5, classes)}, model_state

    def trainable(params):
        fitted = {name: jax.tree.map(lambda leaf: False, params[name]) for name in ("svm", "boxes")}
        return {**trainable_with(network.backbone)(params), **fitted}

    def loss(params, model_state, batch, key, train):
        # Where nothing may be random, the same regions are drawn every time.
        region_keys, dropout = keys_of_images(key if train else jax.random.key(0), 1, len(batch.valid))
        sample, labels, recall = draw(settings, region_keys, batch)
        crops, valid = crops_of(batch, sample.boxes, sample.valid)
        (logits, _, _), model_state = apply(params, model_state, crops, valid, key=dropout, train=train)
        labels, positive = labels.reshape(-1), valid & sample.positive.reshape(-1)
        L = Loss((class_loss(logits, labels, valid),))
        metrics = {"region_accuracy": accuracy(logits, labels, valid), "proposal_recall": recall.over(batch.valid)}
        return L, LossAux(model_state, metrics | {"foreground_accuracy": accuracy(logits, labels, positive)})

    def look_at(params, model_state, batch):
        rows = lambda like: lambda x: x.reshape(*like.shape[:2], -1)
        crops = lambda boxes, valid: apply(params, model_state, *crops_of(batch, boxes, valid))[0]
        return lambda boxes, valid: jax.tree.map(rows(boxes), crops(boxes, valid))

    def features(params, model_state, batch):
        look = look_at(params, model_state, batch)
        return in_chunks(lambda *region: look(*region)[2], batch.proposals.boxes, batch.proposals.valid, settings.chunk)

    def heads(params, model_state, batch):
        look = look_at(params, model_state, batch)
        score = lambda boxes, valid: scored(params, boxes, *look(boxes, valid))
        return in_chunks(score, batch.proposals.boxes, batch.proposals.valid, settings.chunk)

    def predict(params, model_state, batch):
        scores, boxes = heads(params, model_state, batch)
        of_image = lambda boxes, scores, valid, size: detections(boxes, scores, valid, size, settings.detections)
        return per_image(of_image, boxes, scores, batch.proposals.valid, batch.size)

    return Task(
        inputs=inputs_of(config.data, "objects", max_objects=settings.max_objects, proposals=settings.proposals),
        init=init,
        warm_start=partial(load_pretrained, settings.pretrained, settings.backbone["name"], head="class_head"),
        trainable=trainable,
        loss=loss,
        predict=predict,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges),
        best=None,
        parts={"backbone": features, "RoI heads": heads},
        host_stages=(svm_stage(settings, classes, look_at), box_stage(settings, classes, look_at)),
    )
