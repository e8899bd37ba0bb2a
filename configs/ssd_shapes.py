"""SSD on `shapes`.

    python -m experiments.train --config=configs/ssd_shapes.py --workdir=runs/ssd_shapes

Model       cnnvision/models/ssd.py: EfficientNet-Lite0 from ImageNet weights, its maps of stride 8 and 16 and two behind
            them, each widened by a convolution; 3,060 default boxes, one of which has an IoU of .5 with .993 of the training
            objects. With predictors on the backbone's own maps of stride 8 to 32, 1,650 steps bring AP50 .583
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images: AP .574, AP50 .854, AP75 .684, APs .529, APm .562, APl .654, in 6:49 minutes
"""

from ml_collections import ConfigDict

from cnnvision.models.ssd import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.strides = (8, 16)
    config.model.l2_norm = False
    config.model.extra_maps.update(maps=((256, 3, 2, 1), (256, 3, 2, 1)), norm="batch", width=128)
    config.model.max_objects = 8
    # Objects have .09 to .51 of the image's sides (5 % and 95 % of the square roots of areas), and .77 to 1.29 of aspect.
    config.model.default_boxes.update(scales=(0.1, 0.2, 0.35, 0.55, 0.75), ratios=((1.5,),) * 4, steps=None)
    config.model.detections.most = 100
    config.data.source = "shapes"
    config.data.size = (192, 192)  # enlarged: the backbone knows objects larger than these are
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 2e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 1400
    config.training.log_every = 20
    config.training.eval_every = 700
    config.training.save_every = 250
    if variant == "smoke":
        return smoke(
            config,
            strides=(4, 8),
            extra_maps=dict(maps=((16, 3, 2, 1),), width=16),
            default_boxes=dict(scales=(0.15, 0.3, 0.5, 0.8), ratios=((1.5,), (1.5, 3.0), ()), steps=None),
            detections=dict(most=30, candidates=50),
        )
    return config
