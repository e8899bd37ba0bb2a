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
        weights: `config.model.pretrained`: "" for none, "imagenet", or a file: of the backbone, or of a whole detector.
        backbone: its name in `BACKBONES`.
        head: where in the parameters the classification head is.
        classes: of a detector, the names of its classes: of a file of a whole detector, neck and heads are its own, too.

    The file is looked for when the function is called, by a run that begins: one that goes on, or a trained network, does
    without it.

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
    """The same trees with the weights of a file: of the backbone and, where it fits, the head, or of a whole detector.

    Args:
        weights: "imagenet", or the path of a .pth, .pt or .safetensors file with torchvision's names.
        backbone, params, model_state, head: as in `from_torchvision`.
        classes: as in `warm_start`; of a detector's file another network takes the backbone alone, and of a classifier's
            file a detector takes the hidden layers, too (VGG's, into the head of Fast and Faster R-CNN).

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
    if classes is None:
        return from_torchvision(state, params, model_state, backbone, head, source=file)
    # The last layer is of other classes and the background, whatever its shape.
    hidden = {name: layer for name, layer in params["box_head"].items() if name.startswith("hidden")}
    taken, model_state, report = from_torchvision(
        state, {**params, "box_head": hidden}, model_state, backbone, "box_head", source=file
    )
    return {**taken, "box_head": {**params["box_head"], **taken["box_head"]}}, model_state, report
