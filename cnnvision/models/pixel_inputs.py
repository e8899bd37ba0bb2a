"""What networks that answer for every pixel want of the pipeline."""

from typing import Any

from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import border_weights, check_loss, check_tta
from cnnvision.models.binding import input_sizes
from cnnvision.task import DataInfo, InputSpec


def pixel_inputs(config: Any, info: DataInfo, reach: int, stride: int, lost: int = 0) -> InputSpec:
    """The inputs of a network with one answer for each pixel; checks what all these networks share of the config.

    Args:
        config: `data` holds size, resize, margin; `model` holds loss and tta.
        info: the semantic classes.
        reach: how far an answer depends on its surroundings, pixels to each side: the margin of tiles by default. Where
            pixels are `lost`, how many answers next to them depend on where the input ends.
        stride: the network's largest; sizes must be multiples of it, and tiles lie at distances that are.
        lost: pixels at each side for which the network has no answer (no padding); then it sizes itself.

    Raises:
        ConfigError: no semantic classes, a loss or tta that cannot be used, or tiles that are all margin.
    """
    if not info.semantic_classes:
        raise ConfigError("this model learns semantic maps, and the data have none: take a source with maps (masks:DIR …)")
    check_loss(config.model.loss, info)
    sizes, margin = input_sizes(config), config.data.margin
    size = sizes[0]
    check_tta(config.model.tta, size)
    _check_fit(config.data.resize, margin, lost)
    if config.data.resize == "tile":
        margin = lost + -(-(reach if margin is None else margin) // stride) * stride
        if min(size) - 2 * margin < stride:
            raise ConfigError(
                f"config.data.size: of tiles of {size} pixels nothing is left between margins of {margin} pixels at each "
                f"side; take sides of {2 * margin + stride} or more, or a smaller config.data.margin"
            )
    return InputSpec(
        sizes=sizes,
        target="semantic",
        resize=config.data.resize,
        multiple_of=1 if lost else stride,
        margin=margin or 0,
        lost=lost,
        tile_step=stride,
        border=border_weights(config.model.loss, info),
    )


def _check_fit(resize: str, margin: int | None, lost: int) -> None:
    if lost and resize != "tile":
        raise ConfigError(
            f'config.data.resize = "{resize}": without padding logits are of the middle of the input alone, {lost} '
            'pixels less at each side; take config.data.resize = "tile", or padding "same"'
        )
    if resize == "crop":
        raise ConfigError(
            'config.data.resize = "crop" leaves the rim of each image without an answer; models that answer for every pixel '
            'take "stretch", "letterbox" or "tile"'
        )
    if margin is not None and (resize != "tile" or lost):
        why = "sets the margin itself: it has no padding" if lost else f'has no tiles: config.data.resize is "{resize}"'
        raise ConfigError(f"config.data.margin = {margin}, but the network {why}; leave it at None")
