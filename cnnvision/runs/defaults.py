"""What a config holds before an experiment's file sets what differs."""

from typing import Any, Literal

from ml_collections import ConfigDict

from cnnvision.data.options import DataSettings
from cnnvision.settings import as_section
from cnnvision.training.optimizer import OptimizerSettings
from cnnvision.training.settings import TrainingSettings

Variant = Literal["", "smoke"]
"""The variants of most configs: the experiment, and its smallest, which takes seconds."""


def base() -> ConfigDict:
    """A config without a model, of the defaults of all other settings: an experiment adds `model`, and sets the rest."""
    kinds = dict(data=DataSettings, optimizer=OptimizerSettings, training=TrainingSettings)
    config = ConfigDict({name: as_section(kind()) for name, kind in kinds.items()})
    for section in config.values():
        section.lock()  # a config file cannot set a key that nothing reads
    return config


def section(settings: Any) -> ConfigDict:
    """The section of a config that holds these settings."""
    return ConfigDict(as_section(settings))


def smoke(config: ConfigDict, **model: Any) -> ConfigDict:
    """Shrinks an experiment to a few seconds on a CPU: data, training, and the backbone.

    The numbers that come out mean nothing; the path through the code is the same.

    Args:
        config: the experiment's; its data have to be a set that needs no download.
        model: the experiment's own smallest values for keys of `config.model`; those of a section as a dict.
    """
    if "backbone" in config.model and config.model.backbone.name == "contracting_path":
        config.model.backbone.update(width=4, depth=2)
    elif "backbone" in config.model:
        small = dict(name="small", width=8, layers=2, norm="batch", frozen_stages=0, dtype="float32")
        config.model.backbone, config.model.pretrained = ConfigDict(small), None
    config.model.update(model)
    config.data.size, config.data.more_sizes = (64, 64), ()
    config.data.update(batch_size=8, eval_batch_size=8, eval_examples=24, cache_mb=0)
    config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, 1)
    config.training.update(steps=4, log_every=2, eval_every=4, save_every=2)
    return config
