"""SSD on blood cells (BCCD, github.com/Shenggan/BCCD_Dataset, MIT): 205 + 87 photographs through a microscope.

    python -m experiments.train --config=configs/ssd_bccd.py --workdir=runs/ssd_bccd \\
        --config.data.source=voc:/path/to/BCCD

Model       cnnvision/models/ssd.py: EfficientNet-Lite0 from ImageNet weights, its maps of stride 8 and 16 and two behind
            them, each widened by a convolution; 11,900 default boxes, one of which has an IoU of .5 with .999 of the
            training cells
Data        a folder as PASCAL VOC has it: images of 640×480 seen at 448×320; red cells, white cells, platelets
Hardware    two x86 cores
Result      val, 87 photographs: AP .572, AP50 .901, AP75 .652, in 9:44 minutes (Faster R-CNN, configs/faster_rcnn_bccd.py:
            AP .609, AP50 .911, in 13)
"""

from ml_collections import ConfigDict

from cnnvision.models.ssd import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing, on `shapes`)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=2, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.strides = (8, 16)
    config.model.l2_norm = False
    config.model.extra_maps.update(maps=((256, 3, 2, 1), (256, 3, 2, 1)), norm="batch", width=128)
    config.model.max_objects = 32
    # Platelets, red cells, white cells, the largest of them; boxes go with the input's sides, and 1 / 1.4 makes squares.
    config.model.default_boxes.update(scales=(0.07, 0.16, 0.28, 0.42, 0.6), ratios=((1.4,),) * 4, steps=None)
    config.model.detections.most = 100
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
            extra_maps=dict(maps=((16, 3, 2, 1),), width=16),
            max_objects=8,
            default_boxes=dict(scales=(0.15, 0.3, 0.5, 0.8), ratios=((1.5,), (1.5, 3.0), ()), steps=None),
            detections=dict(most=30, candidates=50),
        )
    return config
