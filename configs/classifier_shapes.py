"""Classification on `shapes:single`.

    python -m experiments.train --config=configs/classifier_shapes.py --workdir=runs/classifier_shapes

Model       cnnvision/models/classifier.py: EfficientNet-Lite0 from ImageNet weights, average, linear layer
Data        shapes:single: 2,000 + 500 images of 128×128 made on the spot, six classes, one object each
Hardware    two x86 cores: 3:18 minutes
Result      accuracy 0.930 on val (one seed)
"""

from ml_collections import ConfigDict

from cnnvision.models.classifier import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", head_conv=True, norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
        )
    )
    config.data.source = "shapes:single"
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.optimizer.learning_rate = 5e-4
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 20
    config.training.steps = 320
    config.training.log_every = 20
    config.training.eval_every = 160
    config.training.save_every = 160
    if variant == "smoke":
        return smoke(config)
    return config
