"""SSD300 on COCO: torchvision's recipe (references/detection) for `ssd300_vgg16`.

    python -m experiments.train --config=configs/ssd300_coco.py --workdir=gs://BUCKET/ssd300_coco --distributed \\
        --config.data.source=coco:/path/to/coco --config.model.pretrained=vgg16_features-amdegroot-88682ab5.pth

Model       cnnvision/models/ssd.py on VGG-16 with dilated fc6, from ImageNet weights that were trained on pixels minus the
            mean (torchvision's VGG16_Weights.IMAGENET1K_FEATURES, from download.pytorch.org/models), conv1 frozen. From the
            published detector instead: --config.model.pretrained=ssd300_vgg16_coco-b556d3b4.pth
Data        COCO 2017: train2017/ and val2017/ beside annotations/; images stretched to 300×300
Hardware    32 images a step: TPU v3-8 or larger, or eight GPUs: not yet run
Result      not yet run; published: AP 25.1 after 120 epochs (torchvision)
"""

from ml_collections import ConfigDict

from cnnvision.models.ssd import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke

IMAGES, IMAGES_A_STEP, EPOCHS = 118_287, 32, 120


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="vgg16_dilated", norm="none", frozen_stages=1, dtype="float32"))
    config.model.pretrained = "vgg16_features-amdegroot-88682ab5.pth"
    config.data.source = "coco:data/coco"
    config.data.size = (300, 300)
    config.data.augment.zoom_out = (1.0, 4.0)
    config.data.augment.iou_crop = 1.0
    config.data.augment.flip = 0.5
    config.data.augment.brightness = 0.125
    config.data.augment.contrast = 0.5
    config.data.augment.saturation = 0.5
    config.data.augment.hue = 0.05
    config.data.augment.fill = (123, 117, 104)
    config.data.batch_size = IMAGES_A_STEP
    config.data.eval_batch_size = 32
    config.data.workers = 16
    config.data.cache_mb = 0
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 5e-4
    config.optimizer.warmup_steps = 1000
    config.optimizer.schedule = "step"
    config.optimizer.decay_at = (80 / EPOCHS, 110 / EPOCHS)
    config.training.steps = EPOCHS * IMAGES // IMAGES_A_STEP
    config.training.log_every = 100
    config.training.eval_every = 40_000
    config.training.save_every = 5_000
    if variant == "smoke":
        config.data.source, config.data.workers = "shapes", 0
        return smoke(
            config,
            strides=(4, 8),
            extra_maps=dict(maps=((16, 3, 2, 1),)),
            max_objects=8,
            default_boxes=dict(scales=(0.15, 0.3, 0.5, 0.8), ratios=((2.0,), (2.0, 3.0), (2.0,)), steps=(4.0, 8.0, 16.0)),
            detections=dict(most=30, candidates=50),
        )
    return config
