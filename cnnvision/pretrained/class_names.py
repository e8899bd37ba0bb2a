"""What the classes of a file of weights are called: a file says how many it has, and those that are published are known."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from cnnvision.errors import WeightsError
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detector_names import OUTPUTS, is_detector, outputs_of
from cnnvision.pretrained.torch_names import NAMINGS

CURE = "Give the file of a whole classifier or detector, or in place of --config a run folder with --workdir=DIR."
"""How the message ends where a file is no whole network."""

IMAGENET_CLASSES = 1000
"""Of the ImageNet challenge, for which classifiers are published."""


def class_names(
    state: Mapping[str, np.ndarray], backbone: str, source: str = "the state dict", known: bool = False
) -> tuple[str, ...]:
    """The names of the classes that a network of these weights predicts, in their order.

    Those of COCO for a detector with COCO's number of outputs, of which those for ids without a name are none; those of
    ImageNet for a classifier of a thousand classes; else "class 1" and so on, of a classifier from "class 0".

    Args:
        state: torch's key -> array.
        backbone: its name in `BACKBONES`, by which a classifier's last layer is known.
        source: what errors call the state dict.
        known: whether only names will do that mean something.

    Raises:
        WeightsError: there is no layer of classes, or `known` names are not.
    """
    detector = is_detector(state)
    layer = NAMINGS[backbone].head["class"]
    layer, outputs = outputs_of(state) if detector else (layer, len(state.get(f"{layer}.bias", ())))
    if not outputs:
        raise WeightsError(
            f"{source}: has no layer {layer}, which would tell the classes: it is a backbone alone, or of another kind of "
            f"network. {CURE}"
        )
    if detector and outputs == OUTPUTS:
        return tuple(COCO_IDS)
    if not detector and outputs == IMAGENET_CLASSES:
        return imagenet_names()
    if known:
        raise WeightsError(
            f"{source}: is for {outputs - detector} classes whose names it does not say, and data are matched by name; they "
            f"are known of {OUTPUTS} outputs of a detector (COCO) and {IMAGENET_CLASSES} of a classifier (ImageNet). {CURE}"
        )
    return tuple(f"class {number}" for number in range(int(detector), outputs))


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """Of ImageNet's classes, in the order of published classifiers: the first of each one's synonyms, or all where two have
    the same.
    """
    from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST as synonyms

    firsts = [names.split(",")[0] for names in synonyms]
    return tuple(names if firsts.count(first) > 1 else first for first, names in zip(firsts, synonyms, strict=True))


def imagenet_names_in(classes: Sequence[str]) -> tuple[str, ...]:
    """ImageNet's classes as a data set of these classes calls them: by WordNet's ids (n01440764, a tench), or by name."""
    return wordnet_ids() if classes and set(classes) <= set(wordnet_ids()) else imagenet_names()


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """Of ImageNet's classes, in the order of `imagenet_names`: what the data set's folders are called."""
    from etils import epath

    return tuple(epath.resource_path("tensorflow_datasets").joinpath("datasets/imagenet2012/labels.txt").read_text().split())
