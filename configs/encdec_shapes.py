"""The encoder–decoder on the semantic maps of `shapes`.

    python -m experiments.train --config=configs/encdec_shapes.py --workdir=runs/encdec_shapes

Model       cnnvision/models/encdec.py: EfficientNet-Lite0 from ImageNet weights, and its mirror image: five
            transposed convolutions, at each stride as many channels as the encoder has
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, background and six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images: mean_iou .358, pixel accuracy .865, boundary_f .074
"""

from ml_collections import ConfigDict

from cnnvision.models.encdec import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=8, dtype="float32"),
            pretrained="imagenet",
        )
    )
    config.data.source = "shapes"
    config.data.size = (192, 192)  # enlarged: the backbone knows objects larger than these are
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.momentum = 0.95
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 1225  # as long as each network of the ladder: configs/unet_shapes.py
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 200
    if variant == "smoke":
        return smoke(config)
    return config
