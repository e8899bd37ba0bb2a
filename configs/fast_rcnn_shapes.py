"""Fast R-CNN on `shapes`.

    python -m experiments.proposals --config=configs/fast_rcnn_shapes.py --split=train
    python -m experiments.train --config=configs/fast_rcnn_shapes.py --workdir=runs/fast_rcnn_shapes

Model       cnnvision/models/fast_rcnn.py: EfficientNet-Lite0 from ImageNet weights, feature pyramid of strides 4 to 16;
            500 proposals of selective search
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes; seen at 192×192
Hardware    two x86 cores
Result      val, 500 images: AP .620, AP50 .836, AP75 .734, APs .526, APm .603, APl .736; after 1,500 steps .633, .845, .758,
            .532, .623, .745. Its proposals find .989 of the objects (IoU of .5)
"""

from ml_collections import ConfigDict

from cnnvision.models.fast_rcnn import Settings
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
    config.model.proposals.most = 500
    config.model.regions.canonical = 112.0
    config.model.regions.number = 64
    config.model.regions.hidden = (256, 256)
    config.model.regions.negative_from = 0.1
    config.model.regions.beta = 1.0
    config.data.source = "shapes"
    config.data.size = (192, 192)  # enlarged: the backbone knows objects larger than these are
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 60
    config.training.steps = 1000
    config.training.log_every = 20
    config.training.eval_every = 500
    config.training.save_every = 250
    if variant == "smoke":
        config.data.train_split = "val"  # proposals take time: those of few images
        return smoke(
            config,
            strides=(4, 8),
            width=8,
            max_objects=8,
            proposals=dict(most=30, least_side=1),
            regions=dict(number=16, hidden=(16,)),
        )
    return config
