"""torchvision's `fasterrcnn_resnet50_fpn` and its kin: their weights into a detector's parameters, and back.

What torchvision calls `backbone.body` is our backbone, `backbone.fpn` our neck; its region proposal head and the two layers
of its box head are ours, but for the order of axes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.errors import WeightsError
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.loading import from_torchvision, our_array, to_torchvision
from cnnvision.pretrained.torch_names import Naming, Path

BODY = "backbone.body."
"""How the keys of the backbone begin."""

FPN = {"lateral": "inner_blocks", "output": "layer_blocks"}
LAYERS = {
    "rpn": {"conv": "rpn.head.conv.0.0", "objectness": "rpn.head.cls_logits", "deltas": "rpn.head.bbox_pred"},
    "box_head": {
        "hidden0": "roi_heads.box_head.fc6",
        "hidden1": "roi_heads.box_head.fc7",
        "class": "roi_heads.box_predictor.cls_score",
        "box": "roi_heads.box_predictor.bbox_pred",
    },
}
"""Our layer -> torchvision's."""

OF_CLASSES = (("box_head", "class"), ("box_head", "box"))
"""Layers whose shape goes with the number of classes."""

OUTPUTS = 91
"""Of torchvision's published detectors: the background, then one for each of COCO's ids, those of no class included."""


def is_detector(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is that of a detector, and not of its backbone alone."""
    return any(key.startswith(BODY) for key in state)


def body_of(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a detector's backbone, under the names that it has alone."""
    return {key.removeprefix(BODY): array for key, array in state.items() if key.startswith(BODY)}


def from_torchvision_detector(
    state: Mapping[str, np.ndarray],
    params: Mapping[str, Any],
    model_state: Mapping[str, Any],
    backbone: str,
    source: str = "the state dict",
    classes: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same trees with the file's weights: the backbone, and what the network has of the file's neck and heads.

    Args:
        state: torch's key -> array.
        params, model_state: of the network as initialised.
        backbone: its name in `BACKBONES`.
        source: what errors and the report call the state dict.
        classes: names of the network's classes. Where all are COCO's, and the file is for COCO's ids, each class takes the
            rows of its id.

    Returns:
        (params, model_state, report): a few sentences on what was taken and what was left: layers that torchvision's
        detector does not have, parts of which the file has nothing, layers of another number of classes.

    Raises:
        WeightsError: a layer of the network is of another shape, or is not in the file, which has others of that part.
    """
    state, chosen = _rows_of(classes, state) if "box_head" in params else (state, "")
    only = {"backbone": params["backbone"]}
    loaded, model_state, report = from_torchvision(body_of(state), only, model_state, backbone, head="", source=source)
    levels = len({key.split(".")[3] for key in state if key.startswith("backbone.fpn.inner_blocks.")})
    naming = _naming(params, levels)
    ours = {path: leaf for path, leaf in flatten_dict(dict(params)).items() if path[0] != "backbone"}
    keys = {path: _present(naming.key(path), state) for path in ours if naming.module(path[:-1])}
    parts = {path[0] for path, key in keys.items() if key}
    keys = {path: key for path, key in keys.items() if path[0] in parts}
    left = {"/".join(path[:-1]) if path[0] in parts else path[0] for path in ours if path not in keys}
    found, other = {}, []
    for path, key in keys.items():
        if key is None:
            raise WeightsError(f"{source}: {naming.key(path)} is missing, which this network's {'/'.join(path)} needs.")
        array, leaf = our_array(source, naming, key, state), ours[path]
        if array.shape == leaf.shape:
            found[path] = array
        elif path[:2] in OF_CLASSES:
            other.append((key, state[key].shape, path))
        else:
            raise WeightsError(f"{source}: {key} is {state[key].shape}; this network's {'/'.join(path)} is {leaf.shape}.")
    # Both layers or none: a class's scores are of no use with another one's boxes.
    found = {path: array for path, array in found.items() if not (other and path[:2] in OF_CLASSES)}
    report += f" neck and heads: {len(found)} tensors.{chosen}"
    report += "".join(f" {name} was left at its initialisation (the file has none)." for name in sorted(left))
    if other:
        there = next(shape[0] for key, shape, path in other if path[1] == "class")
        here = ours[("box_head", "class", "bias")].shape[0]
        report += (
            f" box_head: class and box were left at their initialisation (the file's are for {there - 1} classes and the "
            f"background, this network's for {here - 1})."
        )
    return {**loaded, **unflatten_dict({**ours, **found})}, model_state, report


def _rows_of(classes: Sequence[str], state: Mapping[str, np.ndarray]) -> tuple[Mapping[str, np.ndarray], str]:
    """The state dict with the rows of these classes alone, and what the report says of it; as it was, and "", where it is
    not for COCO's ids, or a class is not COCO's.
    """
    layers = {
        f"{LAYERS[part][name]}.{leaf}": 4 if name == "box" else 1 for part, name in OF_CLASSES for leaf in ("weight", "bias")
    }
    for_coco = all(key in state and len(state[key]) == OUTPUTS * width for key, width in layers.items())
    if not classes or not for_coco or not COCO_IDS.keys() >= set(classes):
        return state, ""
    rows = [0, *(COCO_IDS[name] for name in classes)]
    chosen = {}
    for key, width in layers.items():
        inputs = state[key].shape[1:]
        chosen[key] = state[key].reshape(OUTPUTS, width, *inputs)[rows].reshape(-1, *inputs)
    return {**state, **chosen}, f" box_head: class and box are the file's rows of {len(classes)} classes, by COCO's ids."


def to_torchvision_detector(
    params: Mapping[str, Any], model_state: Mapping[str, Any], backbone: str
) -> dict[str, np.ndarray]:
    """A state dict that torchvision's detector loads: the inverse of `from_torchvision_detector`."""
    body = to_torchvision({"backbone": params["backbone"]}, model_state, backbone, head="")
    state = {BODY + key: array for key, array in body.items()}
    naming = _naming(params)
    for path, leaf in flatten_dict(dict(params)).items():
        if path[0] != "backbone":
            if not naming.module(path[:-1]):
                raise WeightsError(f"torchvision's detectors have nothing like this network's {'/'.join(path)}.")
            key = naming.key(path)
            state[key] = np.ascontiguousarray(naming.to_torch(key, np.asarray(leaf)))
    return state


def _naming(params: Mapping[str, Any], levels: int | None = None) -> Naming:
    """Names of all that is not backbone, in a network of these parameters; "" for a layer that torchvision does not have.

    levels: of the file's pyramid, whose coarsest is the network's coarsest; None for as many as the network's.
    """
    flattened = None
    if "hidden0" in params.get("box_head", {}):
        inputs = params["box_head"]["hidden0"]["kernel"].shape[0]
        if inputs % 49:
            raise WeightsError(
                f"box_head/hidden0 reads {inputs} values; torchvision's read 7×7 bins (config.model.regions.size)."
            )
        flattened = (inputs // 49, 7, 7)
    strides = sorted(int(name.removeprefix("output")) for name in params.get("neck", {}) if name.startswith("output"))

    def module(path: Path) -> str:
        if path[0] != "neck":
            return LAYERS.get(path[0], {}).get("/".join(path[1:]), "")
        kind, stride = re.fullmatch(r"(\D*)(\d*)", path[1]).groups()
        if kind not in FPN:
            return ""
        return f"backbone.fpn.{FPN[kind]}.{(levels or len(strides)) - len(strides) + strides.index(int(stride))}.0"

    return Naming("", module, LAYERS["box_head"], flattened)


def _present(key: str, state: Mapping[str, Any]) -> str | None:
    """The key as the file has it: before torchvision 0.13 these convolutions were no sequences of one."""
    older = key.replace("conv.0.0.", "conv.")
    if ".fpn." in key:
        older = ".".join(part for i, part in enumerate(key.split(".")) if i != 4)
    return next((name for name in (key, older) if name in state), None)
