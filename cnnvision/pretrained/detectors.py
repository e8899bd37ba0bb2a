"""torchvision's `fasterrcnn_resnet50_fpn` and its kin: their weights into a detector's parameters, and back.

What torchvision calls `backbone.body` is our backbone, `backbone.fpn` our neck; its region proposal head and the two layers
of its box head are ours, but for the order of axes.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.errors import WeightsError
from cnnvision.pretrained.loading import from_torchvision, to_torchvision
from cnnvision.pretrained.torch_names import LEAVES, Path

BODY = "backbone.body."
"""How the keys of the backbone begin."""

PARTS = {
    ("rpn", "conv"): "rpn.head.conv.0.0",
    ("rpn", "objectness"): "rpn.head.cls_logits",
    ("rpn", "deltas"): "rpn.head.bbox_pred",
    ("box_head", "hidden0"): "roi_heads.box_head.fc6",
    ("box_head", "hidden1"): "roi_heads.box_head.fc7",
    ("box_head", "class"): "roi_heads.box_predictor.cls_score",
    ("box_head", "box"): "roi_heads.box_predictor.bbox_pred",
}
"""Our layer -> torchvision's, all but the pyramid's (`_module`)."""

OF_CLASSES = (("box_head", "class"), ("box_head", "box"))
"""Layers whose shape goes with the number of classes."""


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
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same trees with the file's weights, and a report of one or two sentences.

    Args:
        state: torch's key -> array.
        params, model_state: of the network as initialised.
        backbone: its name in `BACKBONES`.
        source: what errors and the report call the state dict.

    Raises:
        WeightsError: something of the network is not in the file, or of another shape. Only the layers of the classes are
            left as they were where the file has another number of them; the report says so.
    """
    only = {"backbone": params["backbone"]}
    loaded, model_state, report = from_torchvision(body_of(state), only, model_state, backbone, head="", source=source)
    ours = {path: leaf for path, leaf in flatten_dict(dict(params)).items() if path[0] != "backbone"}
    found, other = {}, []
    for path, leaf in ours.items():
        key = _present(_key(path, params), state)
        if key is None:
            raise WeightsError(f"{source}: {_key(path, params)} is missing, which this network's {'/'.join(path)} needs.")
        array = _from_torch(path, np.asarray(state[key]), leaf.shape)
        if array.shape == leaf.shape:
            found[path] = jnp.asarray(array, jnp.float32)
        elif path[:2] in OF_CLASSES:
            other.append((key, state[key].shape, path))
        else:
            raise WeightsError(f"{source}: {key} is {state[key].shape}; this network's {'/'.join(path)} is {leaf.shape}.")
    # Both layers or none: a class's scores are of no use with another one's boxes.
    left = {path for path in ours if other and path[:2] in OF_CLASSES}
    merged = {path: leaf if path in left else found[path] for path, leaf in ours.items()}
    report += f" neck and heads: {len(merged) - len(left)} tensors."
    if other:
        there = next(shape[0] for key, shape, path in other if path[1] == "class")
        here = ours[("box_head", "class", "bias")].shape[0]
        report += (
            f" box_head: class and box were left at their initialisation (the file's are for {there - 1} classes and the "
            f"background, this network's for {here - 1})."
        )
    return {**loaded, **unflatten_dict(merged)}, model_state, report


def to_torchvision_detector(
    params: Mapping[str, Any], model_state: Mapping[str, Any], backbone: str
) -> dict[str, np.ndarray]:
    """A state dict that torchvision's detector loads: the inverse of `from_torchvision_detector`."""
    body = to_torchvision({"backbone": params["backbone"]}, model_state, backbone, head="")
    state = {BODY + key: array for key, array in body.items()}
    for path, leaf in flatten_dict(dict(params)).items():
        if path[0] != "backbone":
            state[_key(path, params)] = np.ascontiguousarray(_to_torch(path, np.asarray(leaf)))
    return state


def _key(path: Path, params: Mapping[str, Any]) -> str:
    """torchvision's key for a leaf that is not of the backbone."""
    if path[0] == "neck":
        kind = path[1].rstrip("0123456789")
        stride = int(path[1].removeprefix(kind))
        strides = sorted(int(name.removeprefix("output")) for name in params["neck"] if name.startswith("output"))
        blocks = {"lateral": "inner_blocks", "output": "layer_blocks"}[kind]
        return f"backbone.fpn.{blocks}.{strides.index(stride)}.0.{LEAVES[path[-1]]}"
    if path[:2] not in PARTS:
        raise WeightsError(f"torchvision's detectors have nothing like this network's {'/'.join(path)}.")
    return f"{PARTS[path[:2]]}.{LEAVES[path[-1]]}"


def _present(key: str, state: Mapping[str, Any]) -> str | None:
    """The key as the file has it: before torchvision 0.13 these convolutions were no sequences of one."""
    older = key.replace("conv.0.0.", "conv.")
    if ".fpn." in key:
        older = ".".join(part for i, part in enumerate(key.split(".")) if i != 4)
    return next((name for name in (key, older) if name in state), None)


def _from_torch(path: Path, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Our axes from torch's; the first layer of the box head reads (c, s, s) there, (s, s, c) here."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if path[:2] == ("box_head", "hidden0") and array.ndim == 2 and array.shape[1] == shape[0]:
        side = _side(array.shape[1], path)
        return array.reshape(len(array), -1, side, side).transpose(2, 3, 1, 0).reshape(-1, len(array))
    return array.T


def _to_torch(path: Path, array: np.ndarray) -> np.ndarray:
    """Inverse of `_from_torch`."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if path[:2] == ("box_head", "hidden0") and array.ndim == 2:
        side = _side(len(array), path)
        return array.reshape(side, side, -1, array.shape[1]).transpose(3, 2, 0, 1).reshape(array.shape[::-1])
    return array.T


def _side(inputs: int, path: Path) -> int:
    """Bins along a side of what the box head reads: 7, in all that torchvision publishes."""
    if inputs % 49:
        raise WeightsError(f"{'/'.join(path)} reads {inputs} values, which are no 7×7 bins (config.model.regions.size = 7).")
    return 7
