"""Faster R-CNN (Ren, He, Girshick and Sun 2015, "Faster R-CNN: towards real-time object detection with region proposals").

Two modules on the same features. The region proposal network (section 3.1, heads/rpn.py) says of anchors at every position
whether there is an object, and moves them onto it: its best answers are the proposals. Fast R-CNN's head (section 3.2,
heads/box_head.py) pools each proposal from the same maps, names its class and moves it once more.

Section 3.1.1: anchors of 3 scales and 3 ratios. Section 3.1.2: L = Lobj + λ·Lrpn, cross entropy of objectness and smooth
L1 of positive anchors. Section 3.1.3: 256 anchors an image, as many positive as negative ones, as far as there are. Section
3.2: "approximate joint training", all four losses in one step; proposals are constants of it. Section 3.3: proposals are
clipped to the image and suppressed at IoU 0.7; the best are kept.

`neck` "fpn": features are those of a pyramid (Lin et al. 2017, "Feature pyramid networks for object detection", section 4),
one anchor size a level, and each proposal pooled from the level that fits its size. "none": one map of the backbone.

Deviations, all of which torchvision's `fasterrcnn_resnet50_fpn` shares: anchors that cross the image's border take part in
training; RoIAlign (He et al. 2017) in place of RoI max pooling, with a pyramid always; Lrpn is divided by the number of
anchors in the sample, not by positions, which takes the place of λ = 10; smooth L1 bends at β = 1/9 (the head's by config).
The objects' own boxes are among the proposals in training, as in the paper's published code. One that torchvision does
not share: anchors whose middle lies in the padding of an image take no part in training.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError, check_range, check_whole
from cnnvision.evaluation.detection import DetectionEvaluator
from cnnvision.heads import rpn
from cnnvision.heads.box_head import BoxHead, box_head_accuracy, box_head_terms, sample_regions
from cnnvision.models import regions
from cnnvision.models.binding import bind, normalized, trainable_with
from cnnvision.necks.fpn import FeaturePyramid
from cnnvision.ops.per_image import per_image
from cnnvision.pretrained.start import warm_start
from cnnvision.task import DataInfo, Key, LossAux, Task
from cnnvision.types import Array, Batch

Anchors = list[np.ndarray]
Choose = Callable[[Anchors, Array, Array], tuple[Array, Any]]
"""(anchors of each map, objectness [b, n], deltas [b, n, 4]) -> boxes [b, r, 4] the head looks at, and anything else."""


class FasterRCNN(nn.Module):
    """Attributes: backbone; strides of its maps that are used; neck, or None; rpn; box_head; sizes and ratios of anchors;
    pool: see `regions.Pool`."""

    backbone: nn.Module
    strides: Sequence[int]
    neck: FeaturePyramid | None
    rpn: rpn.RegionProposalHead
    box_head: BoxHead
    sizes: Sequence[Sequence[float]]
    ratios: Sequence[float]
    pool: regions.Pool

    def __call__(self, image: Array, valid: Array, choose: Choose, train: bool) -> tuple[Any, ...]:
        """Normalised images -> (anchors, objectness, deltas), what was chosen, (logits, deltas) of the chosen boxes."""
        maps, pooled_from = self.features(image, valid, train)
        objectness, deltas = self.rpn(maps)
        shapes = {stride: features.shape[1:3] for stride, features in maps.items()}
        anchors = rpn.anchors_of(shapes, image.shape[1:3], self.sizes, self.ratios)
        boxes, chosen = choose(anchors, objectness, deltas)
        pooled = per_image(self.pool, pooled_from, boxes)
        return (anchors, objectness, deltas), chosen, self.box_head(pooled, train)

    def features(self, image: Array, valid: Array, train: bool) -> tuple[dict[int, Array], dict[int, Array]]:
        """Normalised images -> maps by stride, and those of them that regions are pooled from."""
        return regions.maps_of(self.backbone(image, train, valid), self.strides, self.neck)


def check_learnt(model: Any) -> None:
    """Raises ConfigError for anchors and settings by which no proposals can be learnt or made."""
    if not isinstance(model.anchors.sizes, tuple | list):
        raise ConfigError(f"config.model.anchors.sizes: {model.anchors.sizes!r} must be a tuple of sizes for each map")
    for of_map in model.anchors.sizes:
        regions.check_numbers("config.model.anchors.sizes, of a map", of_map, 1e-3, 10**6)
    regions.check_numbers("config.model.anchors.ratios", model.anchors.ratios, 1e-3, 10**3)
    for name in ("share", "positive_from", "negative_below"):
        check_range(f"config.model.rpn.{name}", model.rpn[name], 0, 1)
    check_whole("config.model.rpn.number", model.rpn.number, 1, 10**6)
    for name in ("before_train", "most_train", "before", "most"):
        check_whole(f"config.model.proposals.{name}", model.proposals[name], 1, 10**6)
    check_range("config.model.proposals.threshold", model.proposals.threshold, 0, 1)
    check_range("config.model.lambda_rpn", model.lambda_rpn, 0, 10**6)


def make_network(model: Any, classes: int) -> FasterRCNN:
    """The module that `config.model` describes."""
    backbone = make_backbone(**model.backbone)
    strides = regions.check_regions(model, backbone.strides)
    check_learnt(model)
    sizes = tuple(tuple(map(float, of_map)) for of_map in model.anchors.sizes)
    maps = len(strides) + (model.neck == "fpn")
    if len(sizes) != maps or len({len(of_map) for of_map in sizes}) != 1 or not sizes[0]:
        also = ", and one coarser" if model.neck == "fpn" else ""
        raise ConfigError(
            f"config.model.anchors.sizes = {sizes}: must be a tuple of sizes for each of {maps} maps (strides "
            f"{strides}{also}), equally many for each"
        )
    return FasterRCNN(
        backbone=backbone,
        strides=strides,
        neck=regions.neck_of(model, backbone, coarser=True),
        rpn=rpn.RegionProposalHead(len(sizes[0]) * len(model.anchors.ratios), dtype=backbone.dtype),
        box_head=regions.head_of(model, classes, backbone),
        sizes=sizes,
        ratios=tuple(model.anchors.ratios),
        pool=regions.pool_of(model),
    )


def _propose(settings: Any, train: bool) -> Callable[..., rpn.Proposals]:
    """Section 3.3: (objectness, deltas, anchors of each map, size) of one image -> its proposals."""
    before, most = (settings.before_train, settings.most_train) if train else (settings.before, settings.most)
    return partial(rpn.propose, before=before, most=most, threshold=settings.threshold)


def _choose_all(model: Any, batch: Batch) -> Choose:
    """In prediction, every proposal is looked at."""

    def choose(anchors, objectness, deltas):
        propose = _propose(model.proposals, train=False)
        of_image = lambda objectness, deltas, size: propose(objectness, deltas, anchors, size)
        found = per_image(of_image, objectness, deltas, batch.size)
        return found.boxes, found

    return choose


def _choose_sample(model: Any, batch: Batch, keys: Key, train: bool) -> Choose:
    """To learn from, a sample of the proposals is; they are constants of the loss."""
    drawn = regions.sampling_of(model)
    propose = _propose(model.proposals, train)

    def choose(anchors, objectness, deltas):
        def of_image(key, objectness, deltas, size, target):
            found = propose(objectness, deltas, anchors, size)
            sample = sample_regions(key, found.boxes, found.valid, target, **drawn)
            return sample, rpn.recalled(found.boxes, found.valid, target)

        constants = lax.stop_gradient((objectness, deltas))
        sample, recalled = per_image(of_image, keys, *constants, batch.size, batch.target)
        return sample.boxes, (sample, recalled)

    return choose


def make_task(config: Any, info: DataInfo) -> Task:
    """Faster R-CNN as the training loop sees it.

    Args:
        config: `model` holds what configs/faster_rcnn_shapes.py sets; `data` holds size and resize.
        info: the classes.
    """
    model = config.model
    network = make_network(model, len(info.classes))
    images = normalized(network.backbone)
    init, apply = bind(network, lambda batch: (*images(batch), _choose_all(model, batch)))

    def loss(params, model_state, batch, key, train):
        # Where nothing may be random, the same anchors and regions are drawn every time.
        key = key if train else jax.random.key(0)
        of_anchors, of_regions, dropout = regions.keys_of_images(key, 2, len(batch.valid))
        choose = _choose_sample(model, batch, of_regions, train)
        answers, model_state = apply(params, model_state, *images(batch), choose, key=dropout, train=train)
        (anchors, objectness, deltas), (sample, recalled), (logits, box_deltas) = answers

        def of_image(key, objectness, deltas, logits, box_deltas, sample, size, target):
            every, drawn = jnp.asarray(np.concatenate(anchors)), {name: model.rpn[name] for name in regions.DRAWN}
            terms = rpn.rpn_terms(key, objectness, deltas, every, target, size, **drawn)
            terms |= box_head_terms(logits, box_deltas, sample, target, beta=model.regions.beta)
            return terms, box_head_accuracy(logits, sample, target)

        answers = (objectness, deltas, logits, box_deltas, sample)
        per = per_image(of_image, of_anchors, *answers, batch.size, batch.target)
        terms, measured = ({name: mean.over(batch.valid) for name, mean in each.items()} for each in per)
        L = (
            terms["objectness"] + model.lambda_rpn * terms["rpn_box"]
            + terms["class"] + model.lambda_box * terms["box"]
        )  # fmt: skip
        metrics = {f"loss/{name}": term for name, term in terms.items()} | measured
        return L, LossAux(model_state, metrics | {"proposal_recall": recalled.over(batch.valid)})

    def backbone(params, model_state, batch):
        return apply(params, model_state, *images(batch), method="features")[0]

    def heads(params, model_state, batch):
        _, proposals, answers = apply(params, model_state, *images(batch), _choose_all(model, batch))[0]
        return proposals, answers

    def predict(params, model_state, batch):
        proposals, (logits, deltas) = heads(params, model_state, batch)
        return regions.find_all(model, logits, deltas, proposals.boxes, proposals.valid, batch.size)

    return Task(
        inputs=regions.object_inputs(config, network.strides),
        init=init,
        warm_start=warm_start(model.pretrained, model.backbone.name, classes=info.classes),
        trainable=trainable_with(network.backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: DetectionEvaluator(info.classes, info.area_ranges),
        best=("AP", "max"),
        parts={"backbone": backbone, "proposals": lambda *arguments: heads(*arguments)[0], "RoI heads": heads},
    )
