"""From a linen module and a config to what a `Task` is made of; the same lines for every model."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from cnnvision.backbones import Backbone
from cnnvision.errors import ConfigError
from cnnvision.inputs import InputSpec
from cnnvision.ops.images import normalize
from cnnvision.task import Key, ModelState, Params
from cnnvision.types import Array, Batch

Init = Callable[[Key, Batch], tuple[Params, ModelState]]
Apply = Callable[..., tuple[Any, ModelState]]


def bind(network: nn.Module, of_batch: Callable[[Batch], tuple]) -> tuple[Init, Apply]:
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
        rngs, mutable = {} if key is None else {"dropout": key}, list(model_state)
        return network.apply(variables, *arguments, train=True, rngs=rngs, mutable=mutable, method=method)

    return init, apply


def normalized(declares: Any) -> Callable[[Batch], tuple[Array, Array]]:
    """batch -> (images normalised with the mean, std and dtype that a backbone declares, which examples are valid)."""
    return lambda batch: (
        normalize(batch.image, batch.size, declares.mean, declares.std, declares.dtype),
        batch.valid,
    )


def named_sizes(data: Any) -> list[tuple[str, tuple[int, int]]]:
    """(key, (height, width)) of each size that `config.data` declares: that of evaluation, then those of training alone."""
    return [("config.data.size", tuple(data.size)), *(("config.data.more_sizes", tuple(size)) for size in data.more_sizes)]


def inputs_of(data: Any, target: str, **more: Any) -> InputSpec:
    """The inputs that `config.data` declares (size, more_sizes, resize), with a target, and `more` fields of `InputSpec`."""
    if target != "semantic" and data.margin is not None:
        raise ConfigError(f"config.data.margin = {data.margin}: tiles have one, and only semantic segmentation takes tiles")
    sizes = tuple(size for _, size in named_sizes(data))
    return InputSpec(sizes=sizes, target=target, resize=data.resize, **more)


def chosen_stride(stride: int | None, backbone: Backbone, key: str = "config.model.stride") -> int:
    """The stride of a backbone's map that a config names; the largest for None. Raises ConfigError."""
    if stride is not None and stride not in backbone.strides:
        raise ConfigError(f"{key} = {stride}: the backbone has maps of strides {', '.join(map(str, backbone.strides))}")
    return max(backbone.strides) if stride is None else stride


def trainable_with(backbone: Backbone) -> Callable[[Params], Any]:
    """`Task.trainable` of a network whose backbone, under that name, may have frozen parts; everything else moves."""

    def trainable(params):
        return {**jax.tree.map(lambda leaf: True, params), "backbone": backbone.trainable(params["backbone"])}

    return trainable


def keys_of_images(key: jax.Array, parts: int, count: int) -> list[jax.Array]:
    """Splits `key` into `parts` arrays of `count` per-image keys, and one key for the whole batch."""
    keys = jax.random.split(key, parts + 1)
    return [*(jax.random.split(each, count) for each in keys[:parts]), keys[parts]]
