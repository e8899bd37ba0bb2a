"""From a linen module to the functions that a `Task` is made of; the same lines for every model."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from cnnvision.backbones import Backbone
from cnnvision.ops.images import normalize
from cnnvision.task import Key, ModelState, Params
from cnnvision.types import Array, Batch

Init = Callable[[Key, Batch], tuple[Params, ModelState]]
Apply = Callable[..., tuple[Any, ModelState]]


def bind(network: nn.Module, of_batch: Callable[[Batch], tuple] = lambda batch: (batch,)) -> tuple[Init, Apply]:
    """The network's two functions.

    Args:
        network: called with what `of_batch` gives, and `train`.
        of_batch: batch -> the network's positional arguments.

    Returns:
        init(key, batch) -> (params, model_state).
        apply(params, model_state, *arguments, key=…, train=…, method=…) -> (output, model_state): the state moves only in
        training, and nothing random happens outside it; `method` names one of the network's, in place of its `__call__`.
    """

    def init(key, batch):
        variables = dict(network.init(key, *of_batch(batch), train=False))
        return variables.pop("params"), variables

    def apply(params, model_state, *arguments, key=None, train=False, method=None):
        variables = {"params": params, **model_state}
        if not train:
            return network.apply(variables, *arguments, train=False, method=method), model_state
        rngs, mutable = {"dropout": key}, list(model_state)
        return network.apply(variables, *arguments, train=True, rngs=rngs, mutable=mutable, method=method)

    return init, apply


def normalized(declares: Any) -> Callable[[Batch], tuple[Array, Array]]:
    """batch -> (images normalised with the mean, std and dtype that a backbone declares, which examples are valid)."""
    return lambda batch: (
        normalize(batch.image, batch.size, declares.mean, declares.std, declares.dtype),
        batch.valid,
    )


def input_sizes(config: Any) -> tuple[tuple[int, int], ...]:
    """`InputSpec.sizes` of a config: that of evaluation, then those of training alone."""
    return tuple(size for _, size in named_sizes(config))


def named_sizes(config: Any) -> list[tuple[str, tuple[int, int]]]:
    """The same, each with the key that it stands under, for errors."""
    more = [("config.data.more_sizes", tuple(size)) for size in config.data.more_sizes]
    return [("config.data.size", tuple(config.data.size)), *more]


def trainable_with(backbone: Backbone) -> Callable[[Params], Any]:
    """`Task.trainable` of a network whose backbone, under that name, may have frozen parts; everything else moves."""

    def trainable(params):
        return {**jax.tree.map(lambda leaf: True, params), "backbone": backbone.trainable(params["backbone"])}

    return trainable
