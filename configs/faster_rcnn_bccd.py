"""Faster R-CNN on blood cells (BCCD, github.com/Shenggan/BCCD_Dataset, MIT): 205 + 87 photographs through a microscope.

    python -m experiments.train --config=configs/faster_rcnn_bccd.py --workdir=runs/faster_rcnn_bccd \\
        --config.data.source=voc:/path/to/BCCD

Model       cnnvision/models/faster_rcnn.py: EfficientNet-Lite0 from ImageNet weights, feature pyramid of strides 8 to 32,
            and 64 for the largest anchors
Data        a folder as PASCAL VOC has it: images of 640×480 seen at 448×320; red cells, white cells, platelets
Hardware    two x86 cores
Result      val, 87 images: AP .609, AP50 .911, AP75 .684; AP of platelets .460, red cells .587, white cells .781; in 13
            minutes with other work beside it. torchvision's Faster R-CNN on the same backbone and weights, the same minutes
            on the same two cores: AP .564, AP50 .893
"""

from ml_collections import ConfigDict

from cnnvision.models.faster_rcnn import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing, on `shapes`)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=2, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.strides = (8, 16, 32)
    config.model.width = 128
    config.model.max_objects = 32
    config.model.anchors.sizes = ((28,), (68,), (128,), (192,))  # platelets, red cells, white cells, the largest of them
    config.model.rpn.number = 128
    config.model.proposals.update(before_train=400, most_train=400, before=400, most=300)
    config.model.regions.number = 128
    config.model.regions.hidden = (512, 512)
    config.data.source = "voc:data/BCCD"
    config.data.size = (320, 448)
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.augment.brightness = 0.1
    config.data.augment.contrast = 0.1
    config.data.batch_size = 4
    config.data.eval_batch_size = 4
    config.optimizer.learning_rate = 5e-4
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 800
    config.training.log_every = 20
    config.training.eval_every = 400
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
        )
    return config
