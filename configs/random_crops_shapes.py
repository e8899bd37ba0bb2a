"""Random crops on `shapes`: the localizer on each of many crops.

    python -m experiments.train --config=configs/random_crops_shapes.py --workdir=runs/random_crops_shapes

Model       cnnvision/models/random_crops.py: EfficientNet-Lite0 from ImageNet weights on 64×64 pixels of each crop
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes
Hardware    two x86 cores
Result      val, 500 images: AP .246, AP50 .502, AP75 .208, APs .120, APm .241, APl .391; the 400 crops of an image find .65
            of its objects (IoU of .5)
"""

from ml_collections import ConfigDict

from cnnvision.heads.box_head import SamplingSettings
from cnnvision.inputs import ProposalSpec
from cnnvision.models.random_crops import Settings
from cnnvision.ops.detections import DetectionSettings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
            stride=16,
            box_loss="giou",
            proposals=ProposalSpec("random", 400, scales=(0.08, 0.8)),
            regions=SamplingSettings(number=8, share=0.5),
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
    config.training.steps = 400
    config.training.log_every = 20
    config.training.eval_every = 0
    config.training.save_every = 250
    if variant == "smoke":
        config.data.train_split = "val"  # proposals take time: those of few images
        return smoke(config, stride=None, side=16, chunk=10, proposals=dict(most=30, least_side=1), regions=dict(number=16))
    return config
