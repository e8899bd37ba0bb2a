"""Mask R-CNN with a feature pyramid (He et al. 2017) on COCO: Detectron2's recipe "R50-FPN, 1x" for a TPU or GPU host.

    python -m experiments.train --config=configs/mask_rcnn_coco.py --workdir=gs://BUCKET/mask_rcnn_coco --distributed \\
        --config.data.source=coco:/path/to/coco --config.model.pretrained=resnet50-0676ba61.pth

Model       cnnvision/models/mask_rcnn.py on ResNet-50 from ImageNet weights (torchvision's, from
            download.pytorch.org/models), the stem and the first stage frozen. From a detector's published weights instead:
            --config.model.pretrained=maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth --config.model.backbone.norm_epsilon=0.0
Data        COCO 2017: train2017/ and val2017/ beside annotations/; images fit 1024×1024 pixels, in training sides of
            640 to 1024. Published recipes scale the shorter side to 640 … 800 and the longer one to 1333 at most
Hardware    16 images a step: TPU v3-8 or larger, or eight GPUs: not yet run
Result      not yet run; published: box AP 38.6 and mask AP 35.2 after 90,000 steps (Detectron2's model zoo), 37.9 and 34.6
            after 26 epochs (torchvision)
"""

from ml_collections import ConfigDict

from cnnvision.models.mask_rcnn import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(
        dict(name="resnet50", norm="frozen", norm_epsilon=1e-5, frozen_stages=2, dtype="bfloat16")
    )
    config.model.pretrained = "resnet50-0676ba61.pth"
    config.data.source = "coco:data/coco"
    config.data.size = (1024, 1024)
    config.data.more_sizes = ((896, 896), (768, 768), (640, 640))
    config.data.resize = "letterbox"
    config.data.augment.flip = 0.5
    config.data.batch_size = 16
    config.data.eval_batch_size = 16
    config.data.workers = 16
    config.data.cache_mb = 0
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.02
    config.optimizer.warmup_steps = 1000
    config.optimizer.schedule = "step"  # after 60,000 and 80,000 steps
    config.training.steps = 90_000
    config.training.log_every = 100
    config.training.eval_every = 15_000
    config.training.save_every = 5_000
    if variant == "smoke":
        config.data.source, config.data.workers = "shapes", 0
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
