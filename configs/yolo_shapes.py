"""YOLO v1 on `shapes`, on EfficientNet-Lite0 in place of the paper's network.

    python -m experiments.train --config=configs/yolo_shapes.py --workdir=runs/yolo_shapes

Model       cnnvision/models/yolo.py: EfficientNet-Lite0 from ImageNet weights up to its map of stride 16, and two 3×3
            convolutions, on 10×10 cells, no fully connected layers
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes; seen at 160×160
Hardware    two x86 cores
Result      val, 500 images: AP .374, AP50 .695, APs .217, APm .349, APl .564; 178 ms a step. Seen at 128×128 (8×8
            cells, 3,600 steps): AP .315, AP50 .593. With the paper's 7×7 cells: of 112×112 pixels AP .276, AP50 .551 (3,000
            steps); of 224×224 pixels, the second convolution's stride 2, AP .343, AP50 .670, APs .181 (1,400 steps). From
            the map of stride 32, 1,200 steps bring AP50 .544 there
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
    config.model.grid.update(cells=None, convolutions=((256, 1), (256, 1)), norm="batch", hidden=())
    config.data.source = "shapes"
    config.data.size = (160, 160)
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.augment.translate = 0.1
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 2e-3
    config.optimizer.clip_norm = 10.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 2600
    config.training.log_every = 20
    config.training.eval_every = 1300
    config.training.save_every = 250
    if variant == "smoke":
        return smoke(config, stride=8, max_objects=8, grid=dict(convolutions=((16, 1),)))
    return config
