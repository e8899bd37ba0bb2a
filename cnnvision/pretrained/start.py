"""The start of a run from weights that its config names."""

from collections.abc import Callable, Mapping
from typing import Any

from cnnvision.pretrained.loading import load_pretrained


def warm_start(weights: str, backbone: str, head: str = "head") -> Callable[[Mapping, Mapping], tuple[Any, Any, str]]:
    """`Task.warm_start` for a network with a backbone of this name.

    Args:
        weights: `config.model.pretrained`: "" for none, "imagenet", or a file.
        backbone: its name in `BACKBONES`.
        head: where in the parameters the classification head is.

    The file is looked for when the function is called, by a run that begins: one that goes on, or a trained network, does
    without it.

    Raises:
        WeightsError: when it is called, where there is no such file, or where it does not fit.
    """
    if not weights:
        return lambda params, model_state: (params, model_state, "")
    return lambda params, model_state: load_pretrained(weights, backbone, params, model_state, head)
