"""Mask R-CNN on nuclei under a microscope (Data Science Bowl 2018, BBBC038, CC0): 165 + 44 images, 16-bit instance masks.

    python -m experiments.train --config=configs/mask_rcnn_nuclei.py --workdir=runs/mask_rcnn_nuclei \\
        --config.data.source=instances:/path/to/nuclei

Model       cnnvision/models/mask_rcnn.py: EfficientNet-Lite0 from ImageNet weights, feature pyramid of strides 4 to 16, and
            32 for the largest anchors
Data        a folder of images and one of maps of instance ids (docs/data.md): images of 256×256 to 520×696, of which the
            longer side is seen at 384; 3 to 199 nuclei an image
Hardware    two x86 cores
Result      val, 44 images, up to 200 detections an image: box AP .580, AP50 .867; mask AP .593, AP50 .858, AP75 .650;
            boundary AP .573; at another time .576, .868; .589, .860, .641; .570, in 28:40 minutes with other work beside.
            torchvision's Mask R-CNN on the same backbone, given 26 minutes of the same hour: box AP .482, mask AP .480, mask
            AP50 .815. With torchvision's alignment: box AP .583; mask AP .551, AP50 .866; boundary AP .528; in 24:53
            minutes on free cores, compilation and evaluation included
"""

from ml_collections import ConfigDict

from cnnvision.models.mask_rcnn import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing, on `shapes`)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=2, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.strides = (4, 8, 16)
    config.model.width = 64
    config.model.max_objects = 128
    config.model.anchors.sizes = ((16,), (32,), (60,), (110,))
    config.model.rpn.number = 256
    config.model.proposals.update(before_train=500, most_train=400, before=500, most=500)
    config.model.regions.canonical = 112.0
    config.model.regions.number = 128
    config.model.regions.hidden = (512, 512)
    config.model.masks.channels = (64, 64, 64, 64)
    config.model.masks.cells = 56
    config.model.masks.alignment = "exact"
    config.model.detections.most = 200
    config.data.source = "instances:data/nuclei"
    config.data.size = (384, 384)
    config.data.resize = "letterbox"
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.augment.crop_area = (0.6, 1.2)
    config.data.augment.brightness = 0.2
    config.data.augment.contrast = 0.2
    config.data.batch_size = 4
    config.data.eval_batch_size = 4
    config.optimizer.learning_rate = 5e-4
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 900
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 200
    if variant == "smoke":
        config.data.source = "shapes"
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
