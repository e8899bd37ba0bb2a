"""One paper, one file. `MODELS` names them for the configs."""

from collections.abc import Callable
from typing import Any

from cnnvision.models import (
    classifier,
    encdec,
    fast_rcnn,
    faster_rcnn,
    fullres,
    localizer,
    mask_rcnn,
    patchnet,
    random_crops,
    rcnn,
    ssd,
    unet,
    yolo,
)
from cnnvision.settings import check_name
from cnnvision.task import DataInfo, Task

MODELS: dict[str, Callable[[Any, DataInfo], Task]] = {
    "classifier": classifier.make_task,
    "localizer": localizer.make_task,
    "patchnet": patchnet.make_task,
    "fullres": fullres.make_task,
    "encdec": encdec.make_task,
    "unet": unet.make_task,
    "random_crops": random_crops.make_task,
    "rcnn": rcnn.make_task,
    "fast_rcnn": fast_rcnn.make_task,
    "faster_rcnn": faster_rcnn.make_task,
    "yolo": yolo.make_task,
    "ssd": ssd.make_task,
    "mask_rcnn": mask_rcnn.make_task,
}
"""name in a config's `model.name` -> make_task(config, info)."""


def make_task(config: Any, info: DataInfo) -> Task:
    """The task that `config.model.name` names.

    Args:
        config: the whole experiment's config; a model reads `config.model` and `config.data`.
        info: classes and area ranges of the data.

    Raises:
        ConfigError: the name, or a value under `config.model`, is not one that the model knows.
    """
    return MODELS[check_name("config.model.name", config.model.get("name"), MODELS)](config, info)
