"""Faster R-CNN on PASCAL VOC 2007 as in its paper (Ren et al. 2015, table 3): VGG-16, one feature map, RoI max pooling.

    python -m experiments.train --config=configs/faster_rcnn_voc.py --workdir=gs://BUCKET/faster_rcnn_voc \\
        --config.data.source=voc:/path/to/VOCdevkit/VOC2007 --config.model.pretrained=vgg16-397923af.pth

Model       cnnvision/models/faster_rcnn.py on VGG-16 from ImageNet weights (torchvision's, from
            download.pytorch.org/models): 13 convolutions, the first four frozen, and the two fully connected layers
Data        VOC 2007: 5,011 trainval and 4,952 test images, which fit 800×800: the shorter side of most is the paper's 600
Hardware    a GPU, or a TPU: not yet run
Result      not yet run; published: mAP 69.9 (`AP50/voc07`), the two networks trained in turns. Trained jointly as here, the
            authors' code (py-faster-rcnn) takes 70,000 steps of one image: as many images as these steps of eight
"""

from ml_collections import ConfigDict

from cnnvision.models.faster_rcnn import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke

IMAGES_A_STEP = 8


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="vgg16", norm="none", frozen_stages=2, dtype="float32"))
    config.model.pretrained = "vgg16-397923af.pth"
    config.model.neck, config.model.strides, config.model.width = "none", (16,), 512
    config.model.anchors.sizes = ((128, 256, 512),)  # section 3.1.1
    # 12,000 and 2,000, 6,000 and 300: the authors' code (py-faster-rcnn) and section 3.3.
    config.model.proposals.update(before_train=12_000, most_train=2000, before=6000, most=300)
    config.model.regions.pooling = "max"
    config.model.regions.number = 128
    config.model.regions.negative_from = 0.1
    config.model.regions.hidden = (4096, 4096)
    config.model.regions.dropout = 0.5
    config.model.regions.beta = 1.0
    config.data.source = "voc:data/VOCdevkit/VOC2007"
    config.data.train_split, config.data.eval_split = "trainval", "test"
    config.data.size = (800, 800)
    config.data.resize = "letterbox"
    config.data.augment.flip = 0.5
    config.data.batch_size = IMAGES_A_STEP
    config.data.eval_batch_size = 8
    config.data.threads = 8
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.001 * IMAGES_A_STEP  # the linear rule: Goyal et al. 2017, section 2.1
    config.optimizer.weight_decay = 5e-4
    config.optimizer.clip_norm = 10.0
    config.optimizer.warmup_steps = 500
    config.optimizer.schedule = "step"
    config.optimizer.decay_at = (50 / 70,)  # after 50,000 images of 70,000
    config.training.steps = 70_000 // IMAGES_A_STEP
    config.training.log_every = 50
    config.training.eval_every = 0
    config.training.save_every = 500
    if variant == "smoke":
        config.data.source = "shapes"
        config.data.train_split, config.data.eval_split = "train", "val"
        return smoke(
            config,
            strides=(4,),
            width=8,
            max_objects=8,
            anchors=dict(sizes=((12, 24, 48),)),
            proposals=dict(before_train=50, most_train=50, before=50, most=30),
            regions=dict(number=16, hidden=(16,)),
        )
    return config
