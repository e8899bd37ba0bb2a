"""torchvision's `fasterrcnn_resnet50_fpn`, `maskrcnn_resnet50_fpn`, `ssd300_vgg16` and their kin: their weights into a
detector's parameters, and back.

What torchvision calls `backbone.body` is our backbone, `backbone.fpn` our neck; its region proposal head and the layers of
its box and mask heads are ours, but for the order of axes. Of SSD, `backbone.features` and `backbone.extra.0` are our
backbone, the other parts of `backbone.extra` the maps behind it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.errors import WeightsError, listed
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detector_names import (
    BODY,
    FPN,
    LAYERS,
    OF_CLASSES,
    OF_SSD,
    OUTPUTS,
    at_position,
    body_of,
    in_one_layout,
    module_of,
    outputs_in,
)
from cnnvision.pretrained.loading import from_torchvision, our_array, to_torchvision
from cnnvision.pretrained.torch_names import Naming, Path


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
        detector does not have, parts of which the file has nothing, layers of another number of classes; and on what of the
        file this network has no place for.

    Raises:
        WeightsError: a layer of the network is of another shape, or is not in the file, which has others of that part.
    """
    state, chosen = _rows_of(classes, in_one_layout(state), params)
    only = {"backbone": params["backbone"]}
    loaded, model_state, report = from_torchvision(body_of(state), only, model_state, backbone, head="", source=source)
    levels = len({key.split(".")[3] for key in state if key.startswith("backbone.fpn.inner_blocks.")})
    naming = _naming(params, levels)
    ours = {path: leaf for path, leaf in flatten_dict(dict(params)).items() if path[0] != "backbone"}
    keys = {path: naming.key(path) for path in ours if naming.module(path[:-1])}
    parts = {path[0] for path, key in keys.items() if key in state}
    keys = {path: key for path, key in keys.items() if path[0] in parts}
    left = {"/".join(path[:-1]) if path[0] in parts else path[0] for path in ours if path not in keys}
    found, other = {}, {}
    for path, key in keys.items():
        if key not in state:
            raise WeightsError(f"{source}: {key} is missing, which this network's {'/'.join(path)} needs.")
        array, leaf = our_array(source, naming, key, state), ours[path]
        if array.shape == leaf.shape:
            found[path] = array
        elif path[:2] in OF_CLASSES:
            other[path] = array.shape
        else:
            raise WeightsError(f"{source}: {key} is {state[key].shape}; this network's {'/'.join(path)} is {leaf.shape}.")
    # All these layers or none: a class's scores are of no use with another one's boxes or masks.
    found = {path: array for path, array in found.items() if not (other and path[:2] in OF_CLASSES)}
    report += f" neck and heads: {len(found)} tensors.{chosen}"
    unused = _named((key for key in state if key not in keys.values() and not key.startswith(BODY)), params)
    if unused:
        report += f" This network has no place for the file's {listed(unused)}."
    report += "".join(f" {name} was left at its initialisation (the file has none)." for name in sorted(left))
    if other:
        path, (*_, rows) = next(iter(other.items()))
        of_class = OF_CLASSES[path[:2]] * at_position(path[:-1], outputs_in(state))
        there, here = (number // of_class - 1 for number in (rows, ours[path].shape[-1]))
        report += (
            f" {_class_layers(keys)} were left at their initialisation (the file's are for {there} classes and the "
            f"background, this network's for {here})."
        )
    return {**loaded, **unflatten_dict({**ours, **found})}, model_state, report


def _rows_of(
    classes: Sequence[str], state: Mapping[str, np.ndarray], params: Mapping[str, Any]
) -> tuple[Mapping[str, np.ndarray], str]:
    """The state dict with the rows of these classes alone, and what the report says of it; as it was, and "", where it is
    not for COCO's ids, or a class is not COCO's.
    """
    paths = [(part, *name.split("/")) for part in LAYERS if part in params for name in LAYERS[part]]
    keys = {
        key: path
        for path in paths
        for leaf in ("weight", "bias")
        if path[:2] in OF_CLASSES and (key := f"{module_of(path)}.{leaf}") in state
    }
    boxes = {key: at_position(path, outputs_in(state)) for key, path in keys.items()}
    for_coco = all(len(state[key]) == boxes[key] * OUTPUTS * OF_CLASSES[path[:2]] for key, path in keys.items())
    if not classes or not keys or not for_coco or not COCO_IDS.keys() >= set(classes):
        return state, ""
    rows = [0, *(COCO_IDS[name] for name in classes)]
    chosen = {}
    for key, path in keys.items():
        inputs = state[key].shape[1:]
        of_file = state[key].reshape(boxes[key], OUTPUTS, OF_CLASSES[path[:2]], *inputs)
        chosen[key] = of_file[:, rows].reshape(-1, *inputs)
    return {
        **state,
        **chosen,
    }, f" {_class_layers(keys.values())} are the file's rows of {len(classes)} classes, by COCO's ids."


def _class_layers(paths: Iterable[Path]) -> str:
    """Those of `paths` whose shape goes with the number of classes, in words."""
    there = {path[:2] for path in paths}
    return listed("/".join(layer) for layer in OF_CLASSES if layer in there)


def _named(keys: Iterable[str], params: Mapping[str, Any]) -> list[str]:
    """What the keys of a file belong to: parts that the network lacks, layers of those that it has, and in torch's words
    what has no name of ours.
    """
    names = {
        theirs: f"{part}/{name}" if part in params else part
        for part, layers in LAYERS.items()
        for name, theirs in layers.items()
    }
    layers = (key.rpartition(".")[0] for key in keys)
    return sorted({names.get(layer, ".".join(layer.split(".")[:4])) for layer in layers})


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
    if "ssd_head" in params:
        theirs = {ours: key for key, ours in OF_SSD.items()}
        state = {theirs.get(key, key): array for key, array in state.items()}
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
            return module_of(path)
        kind, stride = re.fullmatch(r"(\D*)(\d*)", path[1]).groups()
        if kind not in FPN:
            return ""
        return f"backbone.fpn.{FPN[kind]}.{(levels or len(strides)) - len(strides) + strides.index(int(stride))}.0"

    return Naming("", module, LAYERS["box_head"], flattened, transposed=(LAYERS["mask_head"]["up"],))
