"""YOLO v1 on PASCAL VOC as in its paper (Redmon et al. 2016, section 2.2): the 24 convolutions, two fully connected layers.

    python -m experiments.train --config=configs/resnet50_imagenet.py --workdir=gs://BUCKET/darknet_v1 \\
        --config.model.backbone.name=darknet_v1 --config.model.backbone.norm=none --config.data.size=224,224
    python -m experiments.train --config=configs/yolo_voc.py --workdir=gs://BUCKET/yolo_voc \\
        --config.data.source=voc:/path/to/VOCdevkit/VOC2007 --config.model.pretrained=gs://BUCKET/darknet_v1

Model       cnnvision/models/yolo.py on `darknet_v1`: a grid of 7×7 cells with two boxes, 1,470 numbers from 448×448 pixels.
            The first twenty convolutions are those of a classifier that was trained on ImageNet at 224×224 (the first
            command). Or --config.model.backbone.name=vgg16 with torchvision's weights, the paper's "YOLO VGG-16"
Data        VOC 2007: 5,011 trainval and 4,952 test images; the paper adds VOC 2012's trainval, 16,551 images in all, and
            135 of its epochs are 446 of VOC 2007 alone (--config.training.steps=10570 for 135 of these)
Deviations  gradients are clipped to a length of 10; hues change by up to .1, as in the authors' code, not in the paper
Hardware    a GPU, or a TPU: not yet run
Result      not yet run; published, with VOC 2012's images: mAP 63.4 (`AP50/voc07`); with VGG-16 66.4
"""

from ml_collections import ConfigDict

from cnnvision.models.yolo import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke

IMAGES, EPOCHS = 16_551, 135


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes`, without the weights; numbers mean nothing)."""
    config = base()
    config.model = section(Settings())
    config.model.backbone = ConfigDict(dict(name="darknet_v1", norm="none", frozen_stages=0, dtype="float32"))
    config.data.source = "voc:data/VOCdevkit/VOC2007"
    config.data.train_split, config.data.eval_split = "trainval", "test"
    config.data.size = (448, 448)
    config.data.augment.flip = 0.5
    # "Random scaling and translations of up to 20 % of the original image size", exposure and saturation by up to 1.5
    # (docs/data.md, "Augmentation").
    config.data.augment.crop_area = (0.64, 1.44)
    config.data.augment.translate = 0.08
    config.data.augment.brightness = 0.5
    config.data.augment.saturation = 0.5
    config.data.augment.hue = 0.1
    config.data.batch_size = 64
    config.data.eval_batch_size = 64
    config.data.threads = 8
    config.optimizer.name = "sgd"
    # Half of the paper's 0.01, and twice its decay of 0.0005: its code descends ½ of this loss.
    config.optimizer.learning_rate = 0.005
    config.optimizer.weight_decay = 1e-3
    config.optimizer.clip_norm = 10.0
    config.optimizer.warmup_steps = 3 * IMAGES // 64  # "for the first epochs we slowly raise the learning rate"
    config.optimizer.schedule = "step"
    config.optimizer.decay_at = (75 / EPOCHS, 105 / EPOCHS)
    config.training.steps = EPOCHS * IMAGES // 64
    config.training.log_every = 50
    config.training.eval_every = 5000
    config.training.save_every = 500
    if variant == "smoke":
        config.data.source = "shapes"
        config.data.train_split, config.data.eval_split = "train", "val"
        return smoke(config, max_objects=8, grid=dict(cells=3, convolutions=((16, 1),), hidden=(32,)))
    return config
