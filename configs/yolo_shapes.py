"""YOLO v1 on `shapes`, on EfficientNet-Lite0 in place of the paper's network.

    python -m experiments.train --config=configs/yolo_shapes.py --workdir=runs/yolo_shapes

Model       cnnvision/models/yolo.py: EfficientNet-Lite0 from ImageNet weights up to its map of stride 16, and two
            convolutions, the first of stride 2, to 7×7 positions, the paper's cells; no fully connected layers. From the map
            of stride 32 (two convolutions of stride 1, learning rate .001) 1,200 steps bring AP50 .544
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes; seen at 224×224
Hardware    two x86 cores
Result      val, 500 images: AP .343, AP50 .670, AP75 .311, APs .181, APm .347, APl .523, in 7:49 minutes; 7.6 % of the
            objects share their cell with a larger one, and cannot be found. At 192×192 (6×6 cells), 2,000 steps: AP .316,
            AP50 .640, in 9:24 minutes, and an image takes 2.3 of 13 ms less (measured with heads as drawn)
"""

from ml_collections import ConfigDict

from cnnvision.models.yolo import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"))
    config.model.pretrained = "imagenet"
    config.model.max_objects = 8
    config.model.stride = 16
    config.model.grid.update(cells=None, convolutions=((256, 2), (256, 1)), norm="batch", hidden=())
    config.data.source = "shapes"
    config.data.size = (224, 224)
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.augment.translate = 0.1
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 2e-3
    config.optimizer.clip_norm = 10.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 1400
    config.training.log_every = 20
    config.training.eval_every = 700
    config.training.save_every = 250
    if variant == "smoke":
        return smoke(config, stride=8, max_objects=8, grid=dict(convolutions=((16, 1),)))
    return config
