"""Classification on `shapes:single`.

    python -m experiments.train --config=configs/classifier_shapes.py --workdir=runs/classifier_shapes

Model       cnnvision/models/classifier.py: backbone, average pooling, linear layer, cross entropy
Data        shapes:single: 2,000 + 500 images of 128×128 made on the spot, six classes, one object each
Hardware    two x86 cores: not yet run
Result      not yet run
"""

from ml_collections import ConfigDict

from configs.common import base, no_variant, smoke


def get_config(variant: str = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = ConfigDict(
        dict(
            name="classifier",
            backbone=dict(name="small", norm="batch", frozen_stages=0, dtype="float32"),
            pretrained="",
            label_smoothing=0.0,
            dropout=0.0,
        )
    )
    config.data.source = "shapes:single"
    config.data.augment.flip = 0.5
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 50
    config.training.steps = 1000
    if variant == "smoke":
        return smoke(config)
    if variant:
        raise no_variant(variant, "smoke")
    return config
