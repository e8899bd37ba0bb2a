"""The full-resolution net on the semantic maps of `shapes`.

    python -m experiments.train --config=configs/fullres_shapes.py --workdir=runs/fullres_shapes

Model       cnnvision/models/fullres.py: eight 3×3 convolutions of 32 channels
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, background and six classes
Hardware    two x86 cores
Result      val, 500 images: mean_iou .118, pixel accuracy .804, boundary_f .016
"""

from ml_collections import ConfigDict

from cnnvision.models.fullres import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(Settings(width=32, depth=8))
    config.model.loss.class_weights = (0.2,)  # four pixels in five are background, and nothing else would be learnt for long
    config.data.source = "shapes"
    config.data.size = (128, 128)
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.momentum = 0.95
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 40
    config.training.steps = 375  # as long as each network of the ladder: configs/unet_shapes.py
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 100
    if variant == "smoke":
        return smoke(config, width=4, depth=2)
    return config
