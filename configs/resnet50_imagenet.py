"""ResNet-50 on ImageNet: the recipe for a TPU or GPU host (Goyal et al. 2017, "one hour"; He et al. 2019, "bag of tricks").

    python -m experiments.train --config=configs/resnet50_imagenet.py --workdir=gs://BUCKET/resnet50 --distributed

Model       cnnvision/models/classifier.py on ResNet-50 (stride in the 3×3: torchvision's v1.5)
Data        tfds:imagenet2012, prepared in array_record (else the error names the command that prepares it)
Hardware    TPU v3-8 or larger, or eight GPUs: not yet run
Result      not yet run; published: 76.2 to 76.5 % top-1 after 90 epochs (Goyal et al. 2017, table 1), 76.9 % with the tricks
            of sections 2 and 5.1 to 5.2 of He et al. 2019
"""

from ml_collections import ConfigDict

from cnnvision.models.classifier import Settings
from cnnvision.runs.defaults import Variant, base, section, smoke

IMAGES, EPOCHS = 1_281_167, 90


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, on `shapes:single`; numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="resnet50", norm="batch", frozen_stages=0, dtype="bfloat16"),
            label_smoothing=0.1,  # He et al. 2019, section 5.2
        )
    )
    config.data.source = "tfds:imagenet2012"
    config.data.eval_split = "validation"
    config.data.size = (224, 224)
    config.data.resize = "crop"  # evaluation: shorter side 256, centre 224; training: the random crop below
    config.data.batch_size = 1024
    config.data.eval_batch_size = 1024
    config.data.workers = 16
    config.data.cache_mb = 0
    config.data.augment.flip = 0.5
    config.data.augment.crop_area = (0.08, 1.0)  # Szegedy et al. 2015, section 6
    config.data.augment.crop_aspect = (0.75, 1.3333)
    config.data.augment.brightness = 0.4  # He et al. 2019, section 2.1
    config.data.augment.contrast = 0.4
    config.data.augment.saturation = 0.4
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1 * config.data.batch_size / 256  # the linear rule: Goyal et al. 2017, section 2.1
    config.optimizer.nesterov = True
    config.optimizer.schedule = "cosine"  # He et al. 2019, section 5.1
    config.optimizer.weight_decay = 1e-4
    config.training.steps = EPOCHS * IMAGES // config.data.batch_size
    config.optimizer.warmup_steps = 5 * IMAGES // config.data.batch_size  # five epochs: Goyal et al. 2017, section 2.2
    config.training.log_every = 100
    config.training.eval_every = 5000
    config.training.save_every = 1000
    if variant == "smoke":
        config.data.source = "shapes:single"
        config.data.eval_split = "val"
        config.data.workers = 0
        config.data.resize = "stretch"
        return smoke(config)
    return config
