"""What networks that answer for every pixel want of the pipeline."""

from typing import Any

from cnnvision.errors import ConfigError, check_range
from cnnvision.heads.segmentation import border_weights, check_average, check_loss
from cnnvision.task import DataInfo, InputSpec


def pixel_inputs(config: Any, info: DataInfo, reach: int, stride: int, lost: int = 0) -> InputSpec:
    """The inputs of a network with one answer for each pixel; checks what all these networks share of the config.

    Args:
        config: `data` holds size, fit, margin; `model` holds loss and average.
        info: the semantic classes.
        reach: how far an answer depends on its surroundings, pixels to each side: the margin of tiles by default. Where
            pixels are `lost`, how many answers next to them depend on where the input ends.
        stride: the network's largest; sizes must be multiples of it, and tiles lie at distances that are.
        lost: pixels at each side for which the network has no answer (no padding); then it sizes itself.

    Raises:
        ConfigError: no semantic classes, a loss or average that cannot be used, or tiles that are all margin.
    """
    if not info.semantic_classes:
        raise ConfigError("this model learns semantic maps, and the data have none: take a source with maps (masks:DIR …)")
    check_loss(config.model.loss, info)
    size, fit = tuple(config.data.size), config.data.fit
    check_average(config.model.average, size)
    check_range("config.data.margin", config.data.margin, -1, 10**6)
    margin = 0
    if fit == "tile":
        context = config.data.margin if config.data.margin >= 0 and not lost else reach
        margin = lost + -(-context // stride) * stride
        if min(size) - 2 * margin < stride:
            raise ConfigError(
                f"config.data.size: of tiles of {size} pixels nothing is left between margins of {margin} pixels at each "
                f"side; take sides of {2 * margin + stride} or more, or a smaller config.data.margin"
            )
    return InputSpec(
        sizes=(size,),
        target="semantic",
        fit=fit,
        multiple_of=1 if lost else stride,
        margin=margin,
        tile_step=stride,
        border=border_weights(config.model.loss, info),
    )
