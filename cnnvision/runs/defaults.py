"""What a config holds before an experiment's file sets what differs."""

from ml_collections import ConfigDict

from cnnvision.data.options import DataSettings
from cnnvision.errors import ConfigError, nearest
from cnnvision.settings import as_section
from cnnvision.training.optimizer import OptimizerSettings
from cnnvision.training.settings import TrainingSettings


def base() -> ConfigDict:
    """A config without a model, of the defaults of all other settings: an experiment adds `model`, and sets the rest."""
    kinds = dict(data=DataSettings, optimizer=OptimizerSettings, training=TrainingSettings)
    config = ConfigDict({name: as_section(kind()) for name, kind in kinds.items()})
    for section in config.values():
        section.lock()  # a config file cannot set a key that nothing reads
    return config


def no_variant(variant: str, *known: str) -> ConfigError:
    """The error for a variant that a config file does not have; `known` are those it has."""
    return ConfigError(f"--config: there is no variant {variant!r}.{nearest(variant, known)}")


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks any experiment to a few seconds on a CPU, on the data set that needs no download.

    The numbers that come out mean nothing; the path through the code is the same, with the smallest backbone.
    """
    model = config.model
    if "backbone" in model and model.backbone.name == "contracting_path":
        model.backbone.width, model.backbone.depth = 4, 2
    elif "backbone" in model:
        model.backbone = ConfigDict(dict(name="small", width=8, layers=2, norm="batch", frozen_stages=0, dtype="float32"))
        model.pretrained = ""
    if "stride" in model:
        model.stride = 0  # the last
    for key, value in dict(width=4, depth=2, kernels=(4, 4), window=21, samples=16).items():
        if key in model:
            model[key] = value
    if "window" in model:
        model.hidden = 8
    if "decoder" in model:
        model.decoder.widths = ()
    if "regions" in model:
        model.regions.number, model.proposals.most = 16, 30
    if "max_objects" in model:
        model.max_objects = 8
    if "strides" in model:
        model.strides = (4, 8) if model.neck == "fpn" else (4,)
        model.width, model.regions.hidden = 8, (16,)
    if "proposals" in model and "least_side" in model.proposals:
        model.proposals.least_side = 1
        config.data.train_split = config.data.eval_split  # proposals take time: those of few images
    if "chunk" in model and "side" in model:
        model.chunk, model.side = 10, 16
    if "svm" in model:
        model.hidden, model.context, model.svm.examples, model.boxes.examples = (8,), 1, 24, 24
    if "anchors" in model:
        model.anchors.sizes = ((12,), (24,), (48,)) if model.neck == "fpn" else ((12, 24, 48),)
        model.proposals.update(before_train=50, most_train=50, before=50)
    config.data.size, config.data.more_sizes = (64, 64), ()
    config.data.batch_size = 8
    config.data.eval_batch_size = 8
    config.data.eval_examples = 24
    config.data.cache_mb = 0
    config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, 1)
    config.training.steps = 4
    config.training.log_every = 2
    config.training.eval_every = 4
    config.training.save_every = 2
    return config
