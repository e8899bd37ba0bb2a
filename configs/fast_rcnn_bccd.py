"""Fast R-CNN on blood cells (BCCD, github.com/Shenggan/BCCD_Dataset, MIT): 205 + 87 photographs through a microscope.

    python -m experiments.proposals --config=configs/fast_rcnn_bccd.py --split=train --config.data.source=voc:/path/to/BCCD
    python -m experiments.train --config=configs/fast_rcnn_bccd.py --workdir=runs/fast_rcnn_bccd \\
        --config.data.source=voc:/path/to/BCCD

Model       cnnvision/models/fast_rcnn.py: EfficientNet-Lite0 from ImageNet weights, feature pyramid of strides 8 to 32;
            1,000 proposals of selective search
Data        a folder as PASCAL VOC has it: images of 640×480 seen at 448×320; red cells, white cells, platelets
Hardware    two x86 cores
Result      val, 87 images: AP .498, AP50 .766, AP75 .569 (platelets .279, red cells .452, white cells .765), after 42
            minutes with other work on the cores, most of them selective search. Its proposals find .861 of the cells
            (IoU of .5), learnt ones (configs/faster_rcnn_bccd.py, AP .609) .999
"""

from ml_collections import ConfigDict

from cnnvision.models.fast_rcnn import Settings
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
    config.model.proposals.most = 1000
    config.model.regions.number = 128
    config.model.regions.hidden = (512, 512)
    config.model.regions.negative_from = 0.1
    config.model.regions.beta = 1.0
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
