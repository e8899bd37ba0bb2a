"""torchvision's detectors under drawn weights, and ours under the same, stage by stage: what their tests share."""

import functools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnnvision.backbones.layers import IMAGENET_MEAN, IMAGENET_STD
from cnnvision.heads.box_head import class_boxes_and_scores
from cnnvision.heads.mask_head import class_masks
from cnnvision.heads.rpn import propose
from cnnvision.models import faster_rcnn, mask_rcnn
from cnnvision.ops.anchors import anchors_of_maps
from cnnvision.ops.detections import detections
from cnnvision.pretrained.detectors import from_torchvision_detector
from tests.reference import torch_weights

SIZE, PADDED, ORIGINAL = (256, 341), (256, 352), (240, 320)
"""The goldens' 240×320 pixels, shorter side to 256, and filled up to multiples of 32."""

BACKBONE = {"name": "resnet50", "norm": "frozen", "frozen_stages": 0, "dtype": "float32"}
MODELS = {"fasterrcnn_resnet50_fpn": faster_rcnn, "maskrcnn_resnet50_fpn": mask_rcnn}
SCALE = np.array([ORIGINAL[1] / SIZE[1], ORIGINAL[0] / SIZE[0]] * 2, np.float32)
"""Pixels of the network's input -> of the golden's picture."""


load_golden = functools.cache(torch_weights.load_golden)


def state_of(name: str) -> dict[str, np.ndarray]:
    """The state dict of a golden; the dict is the caller's own."""
    return dict(load_golden(name)[0])


def shapes_of(model: Any = faster_rcnn, classes: int = 90, **settings: Any) -> tuple[Any, dict, dict]:
    """(network, params, model_state) of zeros; `settings` of the model, but for its backbone."""
    network = model.make_network(model.Settings(backbone=BACKBONE, **settings), classes)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), _traced(model, classes, **settings))
    params = variables.pop("params")
    return network, params, variables


@functools.cache
def _traced(model: Any, classes: int, **settings: Any) -> dict:
    """The shapes of a network's variables."""
    network = model.make_network(model.Settings(backbone=BACKBONE, **settings), classes)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = lambda image: network.init(jax.random.key(0), image, jnp.ones(1, bool), jnp.zeros((1, 2, 4)), False)
    return jax.eval_shape(init, image)


class Outputs(NamedTuple):
    """Attributes: what torchvision gave and what the same weights give here, each by stage; all of the golden's arrays;
    proposals, and those from torchvision's own answers of the RPN; detections. Of Mask R-CNN the masks [100, 28, 28] of
    these detections, and of torchvision's."""

    theirs: dict[str, np.ndarray]
    ours: dict[str, np.ndarray]
    golden: dict[str, np.ndarray]
    proposals: Any
    fed: Any
    found: Any
    masks: np.ndarray
    masks_of_theirs: np.ndarray


@functools.cache
def outputs(name: str) -> Outputs:
    """Of a model in `MODELS`; runs it once."""
    state, golden = load_golden(name)
    network, params, model_state = shapes_of(MODELS[name])
    params, model_state, _ = from_torchvision_detector(state, params, model_state, "resnet50")
    image = (golden["image"].astype(np.float32) - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    image = jax.image.resize(jnp.asarray(image), (*SIZE, 3), "linear")
    image = jnp.pad(image, ((0, PADDED[0] - SIZE[0]), (0, PADDED[1] - SIZE[1]), (0, 0)))[None]
    size, settings = jnp.array(SIZE), faster_rcnn.Settings()

    @jax.jit
    def run(params, model_state, image, objectness, deltas, their_boxes, their_labels):
        apply = lambda *arguments, method: network.apply({"params": params, **model_state}, *arguments, False, method=method)
        maps = apply(image, jnp.ones(1, bool), method="features")
        of_rpn = apply(maps, method="objectness")
        anchors = anchors_of_maps(maps, image.shape[1:3], settings.anchors.sizes, settings.anchors.ratios)
        propose_from = partial(propose, anchors=anchors, before=1000, most=1000, threshold=0.7)
        proposals, fed = propose_from(of_rpn[0][0], of_rpn[1][0], size), propose_from(objectness, deltas, size)
        logits, boxes = apply(maps, proposals.boxes[None], method="classify")
        best = class_boxes_and_scores(logits[0], boxes[0], proposals.boxes)
        found = detections(*best, proposals.valid, size, settings.detections)
        masks = None
        if hasattr(network, "masks"):
            of_boxes = lambda boxes, labels: class_masks(apply(maps, boxes[None], method="masks")[0], labels)
            masks = of_boxes(found.boxes, found.labels), of_boxes(their_boxes, their_labels)
        return maps, of_rpn, proposals, fed, found, masks, [jnp.asarray(of_map) for of_map in anchors]

    flat = lambda name, last: np.concatenate(
        [golden[f"rpn_{name}_{i}"].transpose(1, 2, 0).reshape(-1, *last) for i in range(5)]
    )
    theirs = {"objectness": flat("objectness", ()), "deltas": flat("deltas", (4,))}
    detected = golden["det_boxes"] / SCALE[None], golden["det_labels"].astype(np.int32) - 1
    with jax.default_matmul_precision("highest"):
        maps, of_rpn, proposals, fed, found, masks, anchors = jax.device_get(
            run(params, model_state, image, theirs["objectness"], theirs["deltas"], *detected)
        )
    names = ("0", "1", "2", "3", "pool")
    ours = {
        "input": np.asarray(image)[0, ::4, ::4],
        **{f"feature {name}": maps[stride][0, :, :, ::16] for name, stride in zip(names, (4, 8, 16, 32, 64), strict=True)},
        "objectness": of_rpn[0][0],
        "deltas": of_rpn[1][0],
        "anchors": np.concatenate(anchors)[::7],
    }
    theirs |= {
        "input": golden["network_input_4x4"].transpose(1, 2, 0),
        **{f"feature {name}": golden[f"feature_{name}_every16th_channel"].transpose(1, 2, 0) for name in names},
        "anchors": golden["anchors_every7th"],
    }
    return Outputs(theirs, ours, golden, proposals, fed, found, *(masks or (None, None)))


def differences(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> dict[str, float]:
    """Stage -> the largest difference, as a share of the largest value."""
    assert theirs.keys() == ours.keys()
    assert all(ours[stage].shape == expected.shape for stage, expected in theirs.items())
    return {stage: np.abs(ours[stage] - theirs[stage]).max() / np.abs(theirs[stage]).max() for stage in theirs}


def pairs(theirs: np.ndarray, ours: np.ndarray, within: float) -> list[tuple[int, int]]:
    """Rows of theirs and the nearest row of ours, within `within` of it, one to one."""
    left, found = list(range(len(ours))), []
    for i, row in enumerate(theirs):
        near = np.abs(ours[left] - row).max(axis=1)
        if len(near) and near.min() <= within:
            found.append((i, left.pop(int(near.argmin()))))
    return found


def detected_pairs(outputs: Outputs) -> list[tuple[int, int]]:
    """Detections of torchvision and of ours that agree in class, in boxes within .1 pixels and in scores within .001."""
    rows = lambda boxes, scores, labels: np.concatenate([boxes, 100 * scores[:, None], 1e3 * labels[:, None]], axis=1)
    golden, found = outputs.golden, outputs.found
    expected = rows(golden["det_boxes"], golden["det_scores"], golden["det_labels"] - 1)
    return pairs(expected, rows(found.boxes * SCALE[None], found.scores, found.labels), 0.1)
