"""U-Net on the semantic maps of `shapes`.

    python -m experiments.train --config=configs/unet_shapes.py --workdir=runs/unet_shapes

Model       cnnvision/models/unet.py: EfficientNet-Lite0 from ImageNet weights as the contracting path, three levels
            up to stride 4; variant "noskips": the same without its skips
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, background and six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images: mean_iou .721, pixel accuracy .949, boundary_f .491; without skips .435, .874, .085
"""

from ml_collections import ConfigDict

from configs.common import base, no_variant, pixel_loss, smoke


def get_config(variant: str = "") -> ConfigDict:
    """variant: "", "noskips", or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = ConfigDict(
        dict(
            name="unet",
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=8, dtype="float32"),
            pretrained="imagenet",
            skips=True,
            decoder=dict(widths=(128, 96, 32), upsampling="transposed", norm="batch"),
            loss=pixel_loss(),
            average="none",  # or "flips", "rotations": over views of the input, in prediction
        )
    )
    config.data.source = "shapes"
    config.data.size = (192, 192)  # enlarged: the backbone knows objects larger than these are
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 3e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    # Each network of the ladder has the same seconds. Medians of a step, in turns: patch net 1.50 s, full resolution 1.29,
    # encoder–decoder 0.49, U-Net without skips 0.33, U-Net 0.38 (its fastest 0.27); so 400 to 560 s as the machine is.
    config.training.steps = 1680 if variant.startswith("noskips") else 1480
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 200
    config.model.skips = not variant.startswith("noskips")
    if variant in ("smoke", "noskips-smoke"):
        return smoke(config)
    if variant not in ("", "noskips"):
        raise no_variant(variant, "smoke", "noskips", "noskips-smoke")
    return config
