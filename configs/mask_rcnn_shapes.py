"""Mask R-CNN on `shapes`.

    python -m experiments.train --config=configs/mask_rcnn_shapes.py --workdir=runs/mask_rcnn_shapes

Model       cnnvision/models/mask_rcnn.py: EfficientNet-Lite0 from ImageNet weights, feature pyramid of strides 4 to 16,
            and 32 for the largest anchors
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images, after 1,200 steps: box AP .622, AP50 .866; mask AP .594, AP50 .830, AP75 .673, of small objects
            .476, boundary AP .443; in 41 minutes with other work on the cores (on free ones the first 140 steps took .93 s
            each, which would make about 20 minutes). With torchvision's alignment of masks: box AP .611, mask AP .536, of
            small objects .400, boundary AP .372
"""

from ml_collections import ConfigDict

from cnnvision.models.mask_rcnn import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.strides = (4, 8, 16)
    config.model.width = 64
    config.model.max_objects = 8
    config.model.anchors.sizes = ((20,), (40,), (80,), (140,))
    config.model.rpn.number = 128
    config.model.proposals.update(before_train=200, most_train=200, before=200, most=100)
    config.model.regions.canonical = 112.0
    config.model.regions.number = 64
    config.model.regions.hidden = (256, 256)
    config.model.masks.channels = (64, 64, 64, 64)
    config.model.masks.cells = 56
    config.model.masks.alignment = "exact"
    config.data.source = "shapes"
    config.data.size = (192, 192)  # enlarged: the backbone knows objects larger than these are
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 1200
    config.training.log_every = 20
    config.training.eval_every = 600
    config.training.save_every = 250
    if variant == "smoke":
        return smoke(
            config,
            strides=(4, 8),
            width=8,
            max_objects=8,
            anchors=dict(sizes=((12,), (24,), (48,))),
            proposals=dict(before_train=50, most_train=50, before=50, most=30),
            regions=dict(number=16, hidden=(16,)),
            masks=dict(size=7, channels=(8,), cells=28),
            detections=dict(most=16),
        )
    return config
