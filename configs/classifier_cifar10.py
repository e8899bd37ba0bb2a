"""Classification of CIFAR-10 with a ResNet-18 (He et al. 2016, section 4.2, with a wider net than theirs).

    python -m experiments.train --config=configs/classifier_cifar10.py --workdir=runs/classifier_cifar10

Model       cnnvision/models/classifier.py on ResNet-18, inputs enlarged to 64×64 because the stem halves twice
Data        tfds:cifar10, prepared in array_record (else the error names the command that prepares it)
Hardware    one GPU or TPU host: not yet run
Result      not yet run
"""

from ml_collections import ConfigDict

from cnnvision.models.classifier import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes:single`; numbers mean nothing)."""
    config = base()
    config.model = section(Settings(backbone=dict(name="resnet18", norm="batch", frozen_stages=0, dtype="float32")))
    config.data.source = "tfds:cifar10"
    config.data.eval_split = "test"
    config.data.size = (64, 64)
    config.data.batch_size = 128  # section 4.2
    config.data.eval_batch_size = 256
    config.data.augment.flip = 0.5
    config.data.augment.translate = 0.125  # section 4.2: 4 pixels of padding on 32
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1  # section 4.2
    config.optimizer.schedule = "step"
    config.optimizer.decay_at = (0.5, 0.75)  # section 4.2: at 32k and 48k of 64k steps
    config.optimizer.weight_decay = 1e-4  # section 4.2
    config.training.steps = 64000  # section 4.2
    config.training.log_every = 100
    config.training.eval_every = 2000
    config.training.save_every = 2000
    if variant == "smoke":
        config.data.source = "shapes:single"
        config.data.eval_split = "val"
        return smoke(config)
    return config
