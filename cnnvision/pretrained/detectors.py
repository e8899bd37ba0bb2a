"""torchvision's `fasterrcnn_resnet50_fpn` and its kin: their weights into a detector's parameters, and back.

What torchvision calls `backbone.body` is our backbone, `backbone.fpn` our neck; its region proposal head and the two layers
of its box head are ours, but for the order of axes.
"""

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

RPN = {"conv": "rpn.head.conv.0.0", "objectness": "rpn.head.cls_logits", "deltas": "rpn.head.bbox_pred"}
BOX_HEAD = {
    "hidden0": "roi_heads.box_head.fc6",
    "hidden1": "roi_heads.box_head.fc7",
    "class": "roi_heads.box_predictor.cls_score",
    "box": "roi_heads.box_predictor.bbox_pred",
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
    """The same trees with the file's weights, and a report of one or two sentences.

    Args:
        state: torch's key -> array.
        params, model_state: of the network as initialised.
        backbone: its name in `BACKBONES`.
        source: what errors and the report call the state dict.
        classes: names of the network's classes. Where all are COCO's, and the file is for COCO's ids, each class takes the
            rows of its id.

    Raises:
        WeightsError: something of the network is not in the file, or of another shape. Only the layers of the classes are
            left as they were where the file has another number of them; the report says so.
    """
    state, chosen = _rows_of(classes, state)
    only = {"backbone": params["backbone"]}
    loaded, model_state, report = from_torchvision(body_of(state), only, model_state, backbone, head="", source=source)
    naming = _naming(params)
    ours = {path: leaf for path, leaf in flatten_dict(dict(params)).items() if path[0] != "backbone"}
    found, other = {}, []
    for path, leaf in ours.items():
        key = _present(_key(naming, path), state)
        if key is None:
            raise WeightsError(f"{source}: {_key(naming, path)} is missing, which this network's {'/'.join(path)} needs.")
        array = our_array(source, naming, key, state)
        if array.shape == leaf.shape:
            found[path] = array
        elif path[:2] in OF_CLASSES:
            other.append((key, state[key].shape, path))
        else:
            raise WeightsError(f"{source}: {key} is {state[key].shape}; this network's {'/'.join(path)} is {leaf.shape}.")
    # Both layers or none: a class's scores are of no use with another one's boxes.
    left = {path for path in ours if other and path[:2] in OF_CLASSES}
    merged = {path: leaf if path in left else found[path] for path, leaf in ours.items()}
    report += f" neck and heads: {len(merged) - len(left)} tensors.{chosen}"
    if other:
        there = next(shape[0] for key, shape, path in other if path[1] == "class")
        here = ours[("box_head", "class", "bias")].shape[0]
        report += (
            f" box_head: class and box were left at their initialisation (the file's are for {there - 1} classes and the "
            f"background, this network's for {here - 1})."
        )
    return {**loaded, **unflatten_dict(merged)}, model_state, report


def _rows_of(classes: Sequence[str], state: Mapping[str, np.ndarray]) -> tuple[Mapping[str, np.ndarray], str]:
    """The state dict with the rows of these classes alone, and what the report says of it; as it was, and "", where it is
    not for COCO's ids, or a class is not COCO's.
    """
    layers = {f"{BOX_HEAD[name]}.{leaf}": width for name, width in (("class", 1), ("box", 4)) for leaf in ("weight", "bias")}
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
            key = _key(naming, path)
            state[key] = np.ascontiguousarray(naming.to_torch(key, np.asarray(leaf)))
    return state


def _naming(params: Mapping[str, Any]) -> Naming:
    """Names of all that is not backbone, in a network of these parameters."""
    inputs = params["box_head"]["hidden0"]["kernel"].shape[0]
    if inputs % 49:
        raise WeightsError(
            f"box_head/hidden0 reads {inputs} values; torchvision's read 7×7 bins (config.model.regions.size)."
        )
    strides = sorted(int(name.removeprefix("output")) for name in params.get("neck", {}) if name.startswith("output"))

    def module(path: Path) -> str:
        if path[0] == "neck":
            kind = path[1].rstrip("0123456789")
            blocks = {"lateral": "inner_blocks", "output": "layer_blocks"}[kind]
            return f"backbone.fpn.{blocks}.{strides.index(int(path[1].removeprefix(kind)))}.0"
        return RPN[path[1]]

    return Naming("", module, BOX_HEAD, (inputs // 49, 7, 7))


def _key(naming: Naming, path: Path) -> str:
    """torchvision's key for a leaf that is not of the backbone."""
    if path[0] == "box_head" and path[1] not in BOX_HEAD:
        raise WeightsError(f"torchvision's detectors have nothing like this network's {'/'.join(path)}.")
    return naming.head_key(path[1:]) if path[0] == "box_head" else naming.key(path)


def _present(key: str, state: Mapping[str, Any]) -> str | None:
    """The key as the file has it: before torchvision 0.13 these convolutions were no sequences of one."""
    older = key.replace("conv.0.0.", "conv.")
    if ".fpn." in key:
        older = ".".join(part for i, part in enumerate(key.split(".")) if i != 4)
    return next((name for name in (key, older) if name in state), None)
