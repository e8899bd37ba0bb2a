"""The start of a network from a file of weights: `Task.warm_start`, with its first arguments bound."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnvision.pretrained.detector_names import body_of, is_detector
from cnnvision.pretrained.detectors import from_torchvision_detector
from cnnvision.pretrained.loading import find_weights, from_torchvision
from cnnvision.pretrained.torch_files import read_weights


def load_pretrained(
    weights: str | None,
    backbone: str,
    params: Mapping[str, Any],
    model_state: Mapping[str, Any],
    head: str = "head",
    classes: Sequence[str] | None = None,
    epsilon: float | None = None,
) -> tuple[Any, Any, str]:
    """The same trees with the weights of a file: of the backbone and, where they fit, heads and neck.

    Args:
        weights: `config.model.pretrained`: "imagenet", or the path of a .pth, .pt or .safetensors file with torchvision's
            names, of the backbone or of a detector; None for none, which changes nothing. (Folders of our own runs are
            seen to before: runs/start.py.)
        backbone, params, model_state, head: as in `from_torchvision`.
        classes: names of a detector's classes. Without them, it takes a detector's backbone alone; with them, it takes
            what it has of the detector's neck and heads, too, and of a classifier's head the hidden layers alone (VGG's fc6
            and fc7, in Fast and Faster R-CNN's "box_head"): the last layer is of other classes and the background.
        epsilon: of the backbone's frozen norms (`Backbone.frozen_epsilon`).

    Returns:
        (params, model_state, report): a few sentences on what was taken and what was left; and, of a detector's file, with
        which epsilon its norms run, where that is not the 0 of torchvision's published detectors.

    Raises:
        WeightsError: the file cannot be read, or does not fit.
    """
    if not weights:
        return params, model_state, ""
    file = find_weights(weights, backbone)
    state = read_weights(file)
    if is_detector(state):
        if classes is not None:
            params, model_state, report = from_torchvision_detector(state, params, model_state, backbone, file, classes)
            return params, model_state, report + _epsilon_report(epsilon)
        state = body_of(state)
    if classes is not None:
        return from_torchvision(state, params, model_state, backbone, "box_head", source=file, last=False)
    return from_torchvision(state, params, model_state, backbone, head, source=file)


def _epsilon_report(epsilon: float | None) -> str:
    if not epsilon:
        return ""
    return (
        f" Its frozen norms run with epsilon {epsilon:g} here; the detectors that torchvision publishes (COCO_V1) were "
        "trained with 0 (config.model.backbone.norm_epsilon)."
    )
