"""R-CNN on `shapes`.

    python -m experiments.proposals --config=configs/rcnn_shapes.py --split=train
    python -m experiments.train --config=configs/rcnn_shapes.py --workdir=runs/rcnn_shapes

Model       cnnvision/models/rcnn.py: EfficientNet-Lite0 from ImageNet weights on 64×64 pixels of each of 500 proposals of
            selective search, two fully connected layers; then SVMs; then box regression
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes
Hardware    two x86 cores
Result      val, 500 images: AP .637, AP50 .827, AP75 .768, APs .602, APm .632, APl .691
"""

from ml_collections import ConfigDict

from cnnvision.heads.box_head import SamplingSettings
from cnnvision.models.rcnn import BoxSettings, Settings
from cnnvision.ops.detections import DetectionSettings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
            context=4,  # 16 of 227 pixels in the paper
            stride=16,  # "pool5"
            hidden=(256, 256),  # "fc6" and "fc7"
            regions=SamplingSettings(number=16),
            boxes=BoxSettings(number=32),
            detections=DetectionSettings(threshold=0.3),
        )
    )
    config.data.source = "shapes"
    config.data.augment.flip = 0.5
    config.data.augment.flip_vertical = 0.5
    config.data.batch_size = 8
    config.data.eval_batch_size = 4
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.warmup_steps = 40
    config.training.steps = 500
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 250
    config.training.keep = 3  # the three stages
    if variant == "smoke":
        config.data.train_split = "val"  # proposals take time: those of few images
        return smoke(
            config,
            stride=None,
            hidden=(8,),
            context=1,
            svm=dict(examples=24),
            boxes=dict(examples=24),
            side=16,
            chunk=10,
            proposals=dict(most=30, least_side=1),
            regions=dict(number=16),
        )
    return config
