"""What torchvision calls the layers of its detectors: `fasterrcnn_resnet50_fpn`, `maskrcnn_resnet50_fpn`, `ssd300_vgg16` and
their kin. Layers of the backbone are called as in its own files (torch_names.py), with `BODY` in front.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from cnnvision.pretrained.torch_names import Path

BODY = "backbone.body."
"""How the keys of the backbone begin."""

MAPS = 7
"""Of SSD512, which has the most."""

FPN = {"lateral": "inner_blocks", "output": "layer_blocks"}
LAYERS = {
    "rpn": {"conv": "rpn.head.conv.0.0", "objectness": "rpn.head.cls_logits", "deltas": "rpn.head.bbox_pred"},
    "box_head": {
        "hidden0": "roi_heads.box_head.fc6",
        "hidden1": "roi_heads.box_head.fc7",
        "class": "roi_heads.box_predictor.cls_score",
        "box": "roi_heads.box_predictor.bbox_pred",
    },
    "mask_head": {
        **{f"conv{i}": f"roi_heads.mask_head.{i}.0" for i in range(4)},
        "up": "roi_heads.mask_predictor.conv5_mask",
        "class": "roi_heads.mask_predictor.mask_fcn_logits",
    },
    "extra_maps": {
        "l2_norm": "backbone.scale",
        **{f"map{i}/conv{k + 1}": f"backbone.extra.{i + 1}.{2 * k}" for i in range(MAPS) for k in range(2)},
    },
    "ssd_head": {
        f"{ours}/map{i}": f"head.{theirs}_head.module_list.{i}"
        for ours, theirs in (("class", "classification"), ("box", "regression"))
        for i in range(MAPS)
    },
}
"""Our layer -> torchvision's."""

OF_CLASSES = {("box_head", "class"): 1, ("box_head", "box"): 4, ("mask_head", "class"): 1, ("ssd_head", "class"): 1}
"""Layers, or what several layers have as their first two names, whose shape goes with the number of classes -> rows of the
background and of each class, in this order; of SSD's these rows for each default box of a position (`at_position`)."""

OUTPUTS = 91
"""Of torchvision's published detectors: the background, then one for each of COCO's ids, those of no class included."""

OLDER = (
    (r"(backbone\.fpn\.\w+_blocks\.\d+)\.(\w+)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(\w+)", r"rpn.head.conv.0.0.\1"),
    *((rf"roi_heads\.mask_head\.mask_fcn{i + 1}\.(\w+)", rf"roi_heads.mask_head.{i}.0.\1") for i in range(4)),
)
"""A key before torchvision 0.13, where these convolutions were no sequences of one -> that of today. The published weights
have the older ones."""

OF_SSD = {
    "backbone.scale_weight": "backbone.scale.weight",
    **{
        f"backbone.{theirs}.{leaf}": f"{BODY}{ours}.{leaf}"
        for theirs, ours in (
            *((f"features.{i}", f"features.{i}") for i in range(23)),
            *((f"extra.0.{i}", f"features.{23 + i}") for i in (1, 3, 5)),
            ("extra.0.7.1", "fc6"),
            ("extra.0.7.3", "fc7"),
        )
        for leaf in ("weight", "bias")
    },
}
"""A key of torchvision's SSD -> what it would be were its backbone a part of its own, as it is in other detectors."""


def is_detector(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is that of a detector, and not of its backbone alone."""
    return any(key.startswith(BODY) for key in in_one_layout(state))


def body_of(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a detector's backbone, under the names that it has alone."""
    return {key.removeprefix(BODY): array for key, array in in_one_layout(state).items() if key.startswith(BODY)}


def in_one_layout(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a detector by the keys of today, SSD's as if its backbone were a part of its own."""

    def named(key: str) -> str:
        today = (match.expand(now) for then, now in OLDER if (match := re.fullmatch(then, key)))
        return OF_SSD.get(key) or next(today, key)

    return {named(key): array for key, array in state.items()}


def module_of(layer: Path) -> str:
    """torchvision's name of one of our layers; "" where it has none."""
    return LAYERS.get(layer[0], {}).get("/".join(layer[1:]), "")


def at_position(layer: Path, outputs: Callable[[Path], int]) -> int:
    """How many default boxes of a position one of SSD's layers is for, each of which has four deltas; 1 for other layers.

    Args:
        layer: its path.
        outputs: path of another layer -> how many outputs it has.
    """
    return outputs((layer[0], "box", *layer[2:])) // 4 if layer[0] == "ssd_head" else 1


def outputs_in(state: Mapping[str, np.ndarray]) -> Callable[[Path], int]:
    """Path of one of our layers -> how many outputs the state dict has of it; 0 where it lacks it."""
    return lambda layer: len(state.get(f"{module_of(layer)}.bias", ()))


def outputs_of(state: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """(torchvision's name of a detector's layer of classes, how many outputs it has: the background and each class; 0 where
    there is no such layer)."""
    outputs = outputs_in(state)
    path = next((path for path in (("ssd_head", "class", "map0"),) if outputs(path)), ("box_head", "class"))
    return module_of(path), outputs(path) // max(at_position(path, outputs), 1)
