"""Weights from elsewhere into a network's parameters and model state, and back.

A network's parameters are {"backbone": ..., a head: ..., ...}, its model state is {"batch_stats": {"backbone": ...}}, or {}
where the backbone has no BatchNorm. All that is not backbone or classification head stays as it was.
"""

import pathlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.backbones import make_backbone
from cnnvision.errors import WeightsError, listed, nearest
from cnnvision.pretrained.torch_files import imagenet_file
from cnnvision.pretrained.torch_names import COUNTER, NAMINGS, Naming, Path
from cnnvision.storage import local_copy

IMAGENET = "imagenet"
"""Instead of a file: the ImageNet weights that come as a package (EfficientNet-Lite0's)."""


def find_weights(weights: str, backbone: str) -> str:
    """The path of the file that `weights` ("imagenet", or a path) means for a backbone; WeightsError where there is none."""
    if weights != IMAGENET and backbone not in NAMINGS:
        raise WeightsError(
            f"{weights}: there is no such folder of a run, and there are no weights from elsewhere for the backbone "
            f"{backbone!r}.{nearest(backbone, NAMINGS)}"
        )
    _naming(backbone)
    if weights != IMAGENET:
        weights = local_copy(weights)
        if not pathlib.Path(weights).is_file():
            raise WeightsError(
                f"{weights}: there is no such file of weights. Give the path of a .pth, .pt or .safetensors file, the "
                f"folder of a run, or {IMAGENET!r} for efficientnet_lite0."
            )
        return weights
    if backbone != "efficientnet_lite0":
        raise WeightsError(
            f"{IMAGENET!r} weights come with the package for efficientnet_lite0 alone; for {backbone}, give the path of the "
            ".pth file that torchvision publishes for it."
        )
    return str(imagenet_file())


def from_torchvision(
    state: Mapping[str, np.ndarray],
    params: Mapping[str, Any],
    model_state: Mapping[str, Any],
    backbone: str,
    head: str = "head",
    source: str = "the state dict",
    last: bool = True,
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same trees with the backbone, and the classification head where it fits, taken from a state dict.

    Args:
        state: torch's key -> array.
        params: of the network as initialised.
        model_state: likewise.
        backbone: its name in `BACKBONES`.
        head: where in `params` the `ClassificationHead` is. Each of its layers is taken if its shape is the file's, and
            left at its initialisation otherwise (another number of classes).
        source: what errors and report call the state dict.
        last: whether the head's last layer, "class", is taken, too.

    Returns:
        (params, model_state, report): one or two sentences on what was taken and what was left.

    Raises:
        WeightsError: the weights do not fit the backbone; says how, and whose they are if it can.
    """
    naming = _naming(backbone)
    found = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    if found and all(key.startswith("module.") for key in found):  # as torch's DataParallel saves them
        found = {key.removeprefix("module."): value for key, value in found.items()}
    leaves = _leaves(params, model_state)
    if any(path[-1] == "scale" for path in leaves) and not any(path[-1] == "mean" for path in leaves):
        raise WeightsError(
            f"{source}: these weights were trained with BatchNorm, and this network's norm keeps no statistics; set the "
            'backbone\'s norm to "frozen" or "batch".'
        )
    added = [layer for layer in naming.added if not any(key.startswith(f"{layer}.") for key in found)]
    loaded = _fit(source, backbone, naming, _without(added, naming, leaves), found)
    head_leaves = {path: leaf for path, leaf in flatten_dict(params.get(head, {})).items() if last or path[0] != "class"}
    fitting = _fit_head(source, naming, head_leaves, found)
    params = {**params, "backbone": _subtree({**leaves, **loaded}, ("kernel", "scale", "bias"))}
    if fitting:
        params[head] = {**params[head], **unflatten_dict(fitting)}
    statistics = _subtree(loaded, ("mean", "var"))
    if statistics:
        model_state = {**model_state, "batch_stats": {**model_state["batch_stats"], "backbone": statistics}}
    report = f"{backbone}: {len(loaded)} tensors from {source}."
    if added:
        report += f" {backbone}: {listed(added)} were left at their initialisation (the file has none).{naming.note}"
    return params, dict(model_state), report + _head_report(naming, head, head_leaves, fitting, found)


def to_torchvision(
    params: Mapping[str, Any], model_state: Mapping[str, Any], backbone: str, head: str = "head"
) -> dict[str, np.ndarray]:
    """A state dict that torchvision's model of that name loads: the inverse of `from_torchvision`.

    Args:
        params, model_state, backbone, head: as in `from_torchvision`; where there is no `head`, its keys are left out.

    Returns:
        torch's key -> float32 array with torch's axes; the counters of BatchNorm are int64 zeros.
    """
    naming = _naming(backbone)
    arrays = {naming.key(path): leaf for path, leaf in _leaves(params, model_state).items()}
    arrays |= {naming.head_key(path): leaf for path, leaf in flatten_dict(params.get(head, {})).items()}
    state = {key: np.ascontiguousarray(naming.to_torch(key, np.asarray(leaf))) for key, leaf in arrays.items()}
    norms = [key.removesuffix("running_var") for key in state if key.endswith("running_var")]
    return state | {norm + COUNTER: np.zeros((), np.int64) for norm in norms}


def _naming(backbone: str) -> Naming:
    if backbone not in NAMINGS:
        raise WeightsError(f"there are no weights from elsewhere for the backbone {backbone!r}.{nearest(backbone, NAMINGS)}")
    return NAMINGS[backbone]


def _leaves(params: Mapping[str, Any], model_state: Mapping[str, Any]) -> dict[Path, Any]:
    """Parameters and statistics of the backbone by path; their leaves' names do not clash."""
    statistics = model_state.get("batch_stats", {}).get("backbone", {})
    return flatten_dict(params["backbone"]) | flatten_dict(statistics)


def _subtree(leaves: Mapping[Path, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return unflatten_dict({path: leaf for path, leaf in leaves.items() if path[-1] in names})


def _without(layers: list[str], naming: Naming, leaves: Mapping[Path, Any]) -> dict[Path, Any]:
    """The leaves of all but the layers that torch calls so."""
    return {path: leaf for path, leaf in leaves.items() if naming.module(path[:-1]) not in layers}


def _fit(
    source: str, backbone: str, naming: Naming, leaves: Mapping[Path, Any], found: Mapping[str, np.ndarray]
) -> dict[Path, jax.Array]:
    """The file's arrays in our axes by path; every leaf has one, of its shape."""
    expected = {naming.key(path): _torch_shape(naming, path, leaf) for path, leaf in leaves.items()}
    faults = []
    missing = [key for key in expected if key not in found]
    if missing:
        faults.append(f"missing from the file: {_first(missing)}")
    unexpected = [key for key in found if key not in expected and not key.startswith(naming.other_keys)]
    if unexpected:
        faults.append(f"in the file but not in the network: {_first(unexpected)}")
    other = [key for key, shape in expected.items() if key in found and found[key].shape != shape]
    if other:
        shapes = [f"{key} is {found[key].shape} and should be {expected[key]}" for key in other]
        faults.append(f"of another shape: {_first(shapes)}")
    if faults:
        whose = _recognise(found)
        known = whose is not None and whose != backbone
        whose = f"these are {whose} weights; the config says {backbone}" if known else f"these do not fit {backbone}"
        raise WeightsError(f"{source}: {whose}. {'; '.join(faults)}.")
    return {path: our_array(source, naming, naming.key(path), found) for path in leaves}


def _fit_head(
    source: str, naming: Naming, leaves: Mapping[Path, Any], found: Mapping[str, np.ndarray]
) -> dict[Path, jax.Array]:
    """Those of the head's layers whose leaves are all in the file, with their shapes."""
    fitting = {}
    for layer in naming.head:
        of_layer = {path: naming.head_key(path) for path in leaves if path[0] == layer}
        shapes = {path: _torch_shape(naming, path, leaves[path], head=True) for path in of_layer}
        if all(key in found and found[key].shape == shapes[path] for path, key in of_layer.items()):
            fitting |= {path: our_array(source, naming, key, found) for path, key in of_layer.items()}
    return fitting


def our_array(source: str, naming: Naming, key: str, found: Mapping[str, np.ndarray]) -> jax.Array:
    """The array of torch's `key` in our axes, float32; WeightsError where not all of it is finite."""
    array = naming.from_torch(key, found[key]).astype(np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(f"{source}: {key} has values that are not finite in float32. Take another checkpoint.")
    return jnp.asarray(array)


def _head_report(
    naming: Naming, head: str, leaves: Mapping[Path, Any], fitting: Mapping[Path, Any], found: Mapping[str, np.ndarray]
) -> str:
    taken, left = (
        [layer for layer in naming.head if (layer, "kernel") in leaves and ((layer, "kernel") in fitting) == took]
        for took in (True, False)
    )
    report = f" {head}: {' and '.join(taken)} from the same file." if taken else ""
    for layer in left:
        key = naming.head_key((layer, "kernel"))
        why = "the file has none"
        if key in found:
            ours = leaves[(layer, "kernel")].shape
            why = f"the file's is {found[key].shape[1]} to {found[key].shape[0]}, this network's {ours[0]} to {ours[1]}"
        report += f" {head}: {layer} was left at its initialisation ({why})."
    return report


def _torch_shape(naming: Naming, path: Path, leaf: Any, head: bool = False) -> tuple[int, ...]:
    key = naming.head_key(path) if head else naming.key(path)
    return naming.to_torch(key, np.broadcast_to(np.float32(0), leaf.shape)).shape


def _first(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _recognise(found: Mapping[str, np.ndarray]) -> str | None:
    """The backbone that has just the parameters of the file, by name and shape; None where none has."""
    for name, naming in NAMINGS.items():
        if f"{naming.first}.weight" not in found:
            continue
        body = {key: array.shape for key, array in found.items() if not key.startswith(naming.other_keys)}
        if _parameter_shapes(name) == {key: shape for key, shape in body.items() if ".running_" not in key}:
            return name
    return None


@cache
def _parameter_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """torch's key -> torch's shape of each parameter of a backbone without options."""
    init, naming = make_backbone(name).init, NAMINGS[name]
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda image: init(jax.random.key(0), image, False)["params"], image)
    return {naming.key(path): _torch_shape(naming, path, leaf) for path, leaf in flatten_dict(params).items()}
