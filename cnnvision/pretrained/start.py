"""The start of a network from a file of weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cnnvision.pretrained.detectors import body_of, from_torchvision_detector, is_detector
from cnnvision.pretrained.loading import find_weights, from_torchvision
from cnnvision.pretrained.torch_files import read_weights


def warm_start(
    weights: str | None, backbone: str, head: str = "head", classes: Sequence[str] | None = None
) -> Callable[[Mapping, Mapping], tuple[Any, Any, str]]:
    """`Task.warm_start` for a network with a backbone of this name.

    Args:
        weights: `config.model.pretrained`: None or "" for none, "imagenet", or a file, of the backbone or of a detector.
        backbone: its name in `BACKBONES`.
        head: name of the classification head in the parameters; a network without one needs no name.
        classes: of a detector, the names of its classes: it takes what it has of a detector's neck and heads, too.

    The file is looked for when the function is called, by a new run: a resumed one, or a trained network, needs none.

    Raises:
        WeightsError: when it is called, where there is no such file, or where it does not fit.
    """
    if not weights:
        return lambda params, model_state: (params, model_state, "")

    return lambda params, model_state: load_pretrained(weights, backbone, params, model_state, head, classes)


def load_pretrained(
    weights: str,
    backbone: str,
    params: Mapping[str, Any],
    model_state: Mapping[str, Any],
    head: str = "head",
    classes: Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same trees with the weights of a file: of the backbone and, where they fit, heads and neck.

    Args:
        weights: "imagenet", or the path of a .pth, .pt or .safetensors file with torchvision's names.
        backbone, params, model_state, head: as in `from_torchvision`.
        classes: as in `warm_start`. Without them, a network takes a detector's backbone alone. With them, of a classifier's
            head it takes the hidden layers alone (VGG's fc6 and fc7, in Fast and Faster R-CNN's "box_head"): the last layer
            is of other classes and the background, whatever its shape.

    Returns:
        (params, model_state, report): one or two sentences on what was taken and what was left.

    Raises:
        WeightsError: the file cannot be read, or does not fit.
    """
    file = find_weights(weights, backbone)
    state = read_weights(file)
    if is_detector(state):
        if classes is not None:
            return from_torchvision_detector(state, params, model_state, backbone, file, classes)
        state = body_of(state)
    if classes is not None:
        return from_torchvision(state, params, model_state, backbone, "box_head", source=file, last=False)
    return from_torchvision(state, params, model_state, backbone, head, source=file)
