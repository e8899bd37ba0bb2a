"""SSD300 on PASCAL VOC as in its paper (Liu et al. 2016, section 3.1) and the authors' code (ssd_pascal.py): VGG-16.

    python -m experiments.train --config=configs/ssd300_voc.py --workdir=gs://BUCKET/ssd300_voc \\
        --config.data.source=voc:/path/to/VOCdevkit/VOC2007 --config.model.pretrained=vgg16_features-amdegroot-88682ab5.pth

Model       cnnvision/models/ssd.py on VGG-16 with dilated fc6, from ImageNet weights that were trained on pixels minus the
            mean (torchvision's VGG16_Weights.IMAGENET1K_FEATURES, from download.pytorch.org/models), conv1 frozen
Data        VOC 2007: 5,011 trainval and 4,952 test images, stretched to 300×300
Hardware    32 images a step on a GPU or TPU: not yet run
Result      not yet run; published: mAP 74.3 (`AP50/voc07`) in the paper's abstract, 77.2 with the authors' code of today;
            both learn from VOC 2007 and 2012 together
"""

from ml_collections import ConfigDict

from cnnvision.models.ssd import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="vgg16_dilated", norm="none", frozen_stages=1, dtype="float32"))
    config.model.pretrained = "vgg16_features-amdegroot-88682ab5.pth"
    config.model.default_boxes.scales = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)
    config.data.source = "voc:data/VOCdevkit/VOC2007"
    config.data.train_split, config.data.eval_split = "trainval", "test"
    config.data.size = (300, 300)
    config.data.augment.zoom_out = (1.0, 4.0)
    config.data.augment.iou_crop = 1.0
    config.data.augment.flip = 0.5
    config.data.augment.brightness = 0.125
    config.data.augment.contrast = 0.5
    config.data.augment.saturation = 0.5
    config.data.augment.hue = 0.05
    config.data.augment.fill = (123, 117, 104)
    config.data.batch_size = 32
    config.data.eval_batch_size = 32
    config.data.threads = 8
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 5e-4
    config.optimizer.clip_norm = 10.0
    config.optimizer.warmup_steps = 500
    config.optimizer.schedule = "step"
    config.optimizer.decay_at = (80 / 120, 100 / 120)
    config.training.steps = 120_000
    config.training.log_every = 100
    config.training.eval_every = 20_000
    config.training.save_every = 2000
    if variant == "smoke":
        config.data.source = "shapes"
        config.data.train_split, config.data.eval_split = "train", "val"
        return smoke(
            config,
            strides=(4, 8),
            extra_maps=dict(maps=((16, 3, 2, 1),)),
            max_objects=8,
            default_boxes=dict(scales=(0.15, 0.3, 0.5, 0.8), ratios=((2.0,), (2.0, 3.0), (2.0,)), steps=(4.0, 8.0, 16.0)),
            detections=dict(most=30, candidates=50),
        )
    return config
