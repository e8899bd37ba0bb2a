"""What all networks with logits for every pixel share: inputs, loss and prediction around the network itself."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax

from cnnvision.errors import ConfigError
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.heads.segmentation import (
    PixelLossSettings,
    background_of,
    border_weights,
    check_classes,
    predict_labels,
    segmentation_metrics,
    segmentation_terms,
)
from cnnvision.inputs import InputSpec
from cnnvision.models.binding import Init, bind, inputs_of, normalized
from cnnvision.ops.images import centre
from cnnvision.task import DataInfo, Loss, LossAux, Task
from cnnvision.types import Array


@dataclasses.dataclass(frozen=True)
class PixelSettings:
    """What each of them reads of `config.model`."""

    loss: PixelLossSettings = PixelLossSettings()
    tta: Literal["none", "flips", "rotations"] = "none"  # views of an input whose probabilities are averaged, in prediction


@dataclasses.dataclass(frozen=True)
class PixelFunctions:
    """A network's functions, as `pixel_task` needs them.

    Attributes:
        images: batch -> (normalised images, valid).
        init: as `Task.init`.
        train: (params, model_state, batch, key, train) -> (logits, their target, model_state), for the loss.
        predict: (params, model_state, valid) -> (images -> logits of the middle of the images).
    """

    images: Callable[..., Any]
    init: Init
    train: Callable[..., Any]
    predict: Callable[..., Callable[[Array], Array]]


def of_whole_images(network: nn.Module, declares: Any) -> PixelFunctions:
    """The functions of a module (images, valid, train) -> logits; `declares`: mean, std and dtype of its images."""
    images = normalized(declares)
    init, apply = bind(network, images)

    def train(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, *images(batch), key=key, train=train)
        return logits, jax.tree.map(lambda plane: centre(plane, logits.shape[1:3]), batch.target), model_state

    predict = lambda params, model_state, valid: lambda image: apply(params, model_state, image, valid)[0]
    return PixelFunctions(images, init, train, predict)


def pixel_task(settings: PixelSettings, info: DataInfo, inputs: InputSpec, functions: PixelFunctions, **more: Any) -> Task:
    """The task of such a network: L is the sum of the terms that have a weight. `more` sets further fields of `Task`."""

    def loss(params, model_state, batch, key, train):
        logits, target, model_state = functions.train(params, model_state, batch, key, train)
        terms = segmentation_terms(settings.loss, logits, target, batch.valid)
        L = sum((getattr(settings.loss, name) * term for name, term in terms.items()), start=Loss(()))
        return L, LossAux(model_state, segmentation_metrics(terms, logits, target, batch.valid))

    def predict(params, model_state, batch):
        image, valid = functions.images(batch)
        return predict_labels(functions.predict(params, model_state, valid), image, settings.tta)

    return Task(
        inputs=inputs,
        init=functions.init,
        loss=loss,
        predict=predict,
        evaluator=lambda: SegmentationEvaluator(info.semantic_classes, background_of(settings.loss, info)),
        best=("mean_iou", "max"),
        **more,
    )


def pixel_inputs(data: Any, settings: PixelSettings, info: DataInfo, reach: int, stride: int, lost: int = 0) -> InputSpec:
    """The inputs of such a network.

    Args:
        data: `config.data`: size, more_sizes, resize, margin.
        settings: loss and tta.
        info: the semantic classes.
        reach: receptive field to each side, pixels: the margin of tiles by default. Where pixels are `lost`, how many
            outputs next to them depend on where the input ends.
        stride: the network's largest; sizes must be multiples of it, and tiles lie at distances that are.
        lost: pixels at each side for which the network has no logits (no padding); then it sizes itself.

    Raises:
        ConfigError: no semantic classes, a loss or tta that cannot be used, or tiles that are all margin.
    """
    if not info.semantic_classes:
        raise ConfigError("this model learns semantic maps, and the data have none: take a source with maps (masks:DIR …)")
    check_classes(settings.loss, info)
    size, margin = tuple(data.size), data.margin
    if settings.tta == "rotations" and size[0] != size[1]:
        raise ConfigError(f"config.model.tta: 'rotations' needs a square input, and config.data.size is {size}")
    _check_resize(data.resize, margin, lost)
    if data.resize == "tile":
        margin = lost + -(-(reach if margin is None else margin) // stride) * stride
        if min(size) - 2 * margin < stride:
            raise ConfigError(
                f"config.data.size: of tiles of {size} pixels nothing is left between margins of {margin} pixels at each "
                f"side; take sides of {2 * margin + stride} or more, or a smaller config.data.margin"
            )
    tiles = {"margin": margin or 0, "lost": lost, "tile_step": stride}
    border = border_weights(settings.loss, info)
    return inputs_of(data, "semantic", multiple_of=1 if lost else stride, border=border, **tiles)


def _check_resize(resize: str, margin: int | None, lost: int) -> None:
    if lost and resize != "tile":
        raise ConfigError(
            f'config.data.resize = "{resize}": without padding logits are of the middle of the input alone, {lost} pixels '
            'less at each side; take config.data.resize = "tile", or padding "same"'
        )
    if resize == "crop":
        raise ConfigError(
            'config.data.resize = "crop" leaves the rim of each image without a prediction; semantic segmentation takes '
            '"stretch", "letterbox" or "tile"'
        )
    if margin is not None and (resize != "tile" or lost):
        why = "sets the margin itself: it has no padding" if lost else f'has no tiles: config.data.resize is "{resize}"'
        raise ConfigError(f"config.data.margin = {margin}, but the network {why}; leave it at None")
