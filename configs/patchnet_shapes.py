"""The patch classifier on the semantic maps of `shapes`.

    python -m experiments.train --config=configs/patchnet_shapes.py --workdir=runs/patchnet_shapes

Model       cnnvision/models/patchnet.py: windows of 45×45 pixels, three convolutions; trained on all pixels at once
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, background and six classes; seen at 64×64
Hardware    two x86 cores
Result      val, 500 images: mean_iou .179, pixel accuracy .776, boundary_f .051; dense pass 25 ms an image, window by
            window 4.05 s
"""

from ml_collections import ConfigDict

from cnnvision.models.patchnet import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(Settings(kernels=(4, 4, 4), window=45, width=32, hidden=128))
    config.model.loss.class_weights = (0.2,)  # four pixels in five are background, and nothing else would be learnt for long
    config.data.source = "shapes"
    config.data.size = (64, 64)  # half of the images' sides, a quarter of their pixels
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 16
    config.data.eval_batch_size = 16
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.momentum = 0.95
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 40
    config.training.steps = 310  # as long as each network of the ladder: configs/unet_shapes.py
    config.training.log_every = 10
    config.training.eval_every = 0
    config.training.save_every = 30
    if variant == "smoke":
        return smoke(config, kernels=(4, 4), window=21, width=4, hidden=8, samples=16)
    return config
