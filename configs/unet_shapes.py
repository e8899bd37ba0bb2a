"""U-Net on the semantic maps of `shapes`.

    python -m experiments.train --config=configs/unet_shapes.py --workdir=runs/unet_shapes

Model       cnnvision/models/unet.py: EfficientNet-Lite0 from ImageNet weights as the contracting path, three levels
            up to stride 4; variant "noskips": the same without its skips
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, background and six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images: mean_iou .775, pixel accuracy .959, boundary_f .591; without skips .455, .882, .104.
            1,480 steps of AdamW at 3e-3 bring .721, .949, .491
"""

from typing import Literal

from ml_collections import ConfigDict

from cnnvision.models.unet import Settings
from cnnvision.necks.decoder import DecoderSettings
from cnnvision.runs.defaults import base, section, smoke


def get_config(variant: Literal["", "smoke", "noskips", "noskips-smoke"] = "") -> ConfigDict:
    """variant: "", "noskips", or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=8, dtype="float32"),
            pretrained="imagenet",
            decoder=DecoderSettings(widths=(128, 96, 32)),
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
    # Each network of the ladder has the same seconds. Medians of a step, in turns, with nothing else on two x86 cores: patch
    # net 0.91 s, full resolution 0.76, encoder–decoder 0.23, U-Net without skips 0.18, U-Net 0.20; so 283 s for each.
    config.training.steps = 1600 if variant.startswith("noskips") else 1400
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 200
    config.model.skips = not variant.startswith("noskips")
    if variant in ("smoke", "noskips-smoke"):
        return smoke(config, decoder=dict(widths=None))
    return config
