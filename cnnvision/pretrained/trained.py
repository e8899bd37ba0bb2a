"""Parameters of one of our networks into another one, of the same model or of another: what fits, by name and by class.

A layer is all that has one path: parameters and running statistics. It is taken as a whole or not at all, but for layers of
classes, whose rows are taken one by one, by the names of the classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnvision.errors import listed
from cnnvision.pretrained import detector_names
from cnnvision.pretrained.detector_names import at_position
from cnnvision.pretrained.torch_names import Path

Trees = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Parameters and model state."""
Layers = dict[Path, dict[Path, Any]]
"""Path of a layer -> path of each of its leaves in {"params": parameters, **model state} -> the leaf."""

OF_CLASSES = {**detector_names.OF_CLASSES, ("head", "class"): 1, ("class_head", "class"): 1}
"""Layers, or what several have as their first two names, whose last axis goes with the number of classes -> its numbers for
each class: first those of the background, where there is one, then of each class in order; of SSD's this for each default
box of a position. A part without "class" has none of these: the localizer's box is of no class."""

FITTED = ("svm", "boxes")
"""R-CNN's parts that are fitted after training, and never started from."""


def from_trained(
    ours: Trees, classes: Sequence[str], theirs: Trees, their_classes: Sequence[str], source: str
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Our trees with what fits of theirs.

    Args:
        ours: of the network as initialised.
        classes: names of its classes.
        theirs: of the trained network.
        their_classes: names of its classes.
        source: what the report calls the trained network.

    Returns:
        (params, model_state, report): a few sentences on what was taken, which classes' rows were, and what was left.
    """
    here, there = _layers(ours), _layers(theirs)
    new, whole, rows, other, absent = {}, [], [], [], []
    for path, leaves in here.items():
        names, their_names = _names(path, leaves, here, classes), _names(path, there.get(path, {}), there, their_classes)
        if path[0] in FITTED:
            continue
        if path not in there:
            absent.append(path)
        elif names and their_names and _inputs(leaves, names) == _inputs(there[path], their_names):
            rows.append(path)
            new |= _rows(OF_CLASSES[path[:2]], leaves, names, there[path], their_names)
        elif not names and not their_names and _shapes(leaves) == _shapes(there[path]):
            whole.append(path)
            new |= there[path]
        else:
            other.append(path)
    unused = [path for path in there if path not in here]
    report = f"{source}: {listed(layers_in_words(whole, here)) or 'nothing'} taken."
    if rows:
        report += f" {listed(layers_in_words(rows, here))}: {_taken(classes, their_classes)}."
    for why, paths in (("not there", absent), ("of another shape there", other)):
        if paths:
            report += f" Left at the initialisation ({why}): {listed(layers_in_words(paths, here))}."
    if unused:
        report += f" This network has no place for {listed(layers_in_words(unused, there))}."
    trees = unflatten_dict({leaf: new.get(leaf, value) for leaves in here.values() for leaf, value in leaves.items()})
    return trees.pop("params"), {**ours[1], **trees}, report


def backbone_fault(ours: Trees, theirs: Trees) -> str:
    """In what their backbone is another one than ours, in words; "" where it has all that ours has."""
    there = _layers(theirs)
    for path, leaves in _layers(ours).items():
        if path[0] == "backbone" and _shapes(leaves) != _shapes(there.get(path, {})):
            shapes = lambda layer: ", ".join(
                f"{leaf[-1]} {leaf_shape}" for leaf, leaf_shape in sorted(_shapes(layer).items())
            )
            return f"{'/'.join(path)}: {shapes(there.get(path, {})) or 'nothing'} there, {shapes(leaves)} here"
    return ""


def _layers(trees: Trees) -> Layers:
    params, model_state = trees
    layers: Layers = {}
    for path, leaf in flatten_dict({"params": params, **model_state}).items():
        layers.setdefault(path[1:-1], {})[path] = leaf
    return layers


def _shapes(leaves: Mapping[Path, Any]) -> dict[Path, tuple[int, ...]]:
    return {path: np.shape(leaf) for path, leaf in leaves.items()}


def _inputs(leaves: Mapping[Path, Any], names: Sequence[str | None]) -> dict[Path, tuple[int, ...]]:
    """The shapes, with a last axis of so many outputs as each of `names` has."""
    return {path: (*shape[:-1], shape[-1] // len(names)) for path, shape in _shapes(leaves).items()}


def _names(path: Path, leaves: Mapping[Path, Any], layers: Layers, classes: Sequence[str]) -> list[str | None]:
    """What the outputs of a layer of classes (of one default box) stand for, None for the background; [] for another
    layer."""
    if path[:2] not in OF_CLASSES or not leaves or (path[0], "class") not in {layer[:2] for layer in layers}:
        return []
    outputs_of = lambda layer: {shape[-1] for shape in _shapes(layers[layer]).values()}.pop()
    outputs = outputs_of(path) // (OF_CLASSES[path[:2]] * at_position(path, outputs_of))
    return [None] * (outputs - len(classes)) + list(classes)


def _rows(
    width: int,
    leaves: Mapping[Path, Any],
    names: Sequence[str | None],
    their_leaves: Mapping[Path, Any],
    their_names: Sequence[str | None],
) -> dict[Path, np.ndarray]:
    """Our leaves with their rows of the names that both have; as they are where they have no class in common."""
    common = [(i, their_names.index(name)) for i, name in enumerate(names) if name in their_names]
    if not {*names} & {*their_names} - {None}:
        return {}
    to, of = (list(indices) for indices in zip(*common, strict=True))
    new = {}
    for path, leaf in leaves.items():
        leaf, theirs = (
            np.array(x).reshape(*np.shape(x)[:-1], -1, len(of_x), width)
            for x, of_x in ((leaf, names), (their_leaves[path], their_names))
        )
        leaf[..., to, :] = theirs[..., of, :]
        new[path] = leaf.reshape(np.shape(leaves[path]))
    return new


def _taken(classes: Sequence[str], their_classes: Sequence[str], most: int = 6) -> str:
    """Which rows were taken, in words."""
    missing = [name for name in classes if name not in their_classes]
    if not missing:
        return f"the rows of all {len(classes)} classes taken, by name"
    if len(missing) == len(classes):
        return "left at the initialisation, as no class there has the name of one here"
    absent = listed([*missing[:most], *([f"{len(missing) - most} more"] if len(missing) > most else [])])
    return f"the rows of {len(classes) - len(missing)} of {len(classes)} classes taken, by name; there is no {absent}"


def layers_in_words(paths: Iterable[Path], layers: Iterable[Path]) -> list[str]:
    """Some of a network's layers in few words: a part (the first of a path) where all of it is meant, else each layer."""
    paths = list(paths)
    whole = {path[0] for path in paths} - {path[0] for path in layers if path not in paths}
    return list(dict.fromkeys(path[0] if path[0] in whole else "/".join(path) for path in paths))
