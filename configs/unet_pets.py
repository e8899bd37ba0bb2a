"""U-Net with a pretrained ResNet-34 on Oxford-IIIT Pet's trimaps: a recipe for one GPU or TPU; it was not run here.

    python -m experiments.train --config=configs/unet_pets.py --workdir=runs/unet_pets

Model       cnnvision/models/unet.py: ResNet-34 from torchvision's ImageNet weights as the contracting path
            (--config.model.pretrained=resnet34-b627a593.pth, downloaded from torchvision), five levels up
Data        tfds:oxford_iiit_pet, prepared in array_record (the error says how): 3,680 + 3,669 images; pet, background,
            border
Hardware    one accelerator; not measured
Result      not run
"""

from ml_collections import ConfigDict

from cnnvision.heads.segmentation import PixelLossSettings
from cnnvision.models.unet import Settings
from cnnvision.necks.decoder import DecoderSettings
from cnnvision.runs.defaults import Variant, base, section, smoke


def get_config(variant: Variant = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = section(
        Settings(
            backbone=dict(name="resnet34", norm="batch", frozen_stages=0, dtype="bfloat16"),
            decoder=DecoderSettings(widths=(256, 128, 64, 32, 16)),
            loss=PixelLossSettings(dice=0.5),
            tta="flips",
        )
    )
    config.data.source = "tfds:oxford_iiit_pet"
    config.data.eval_split = "test"
    config.data.resize = "letterbox"
    config.data.size = (384, 384)
    config.data.batch_size = 64
    config.data.cache_mb = 0
    config.data.augment.flip = 0.5
    config.data.augment.crop_area = (0.5, 1.5)
    config.data.augment.crop_aspect = (0.8, 1.25)
    config.data.augment.rotate = 15.0
    config.data.augment.brightness = 0.2
    config.data.augment.contrast = 0.2
    config.data.augment.saturation = 0.2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.backbone_factor = 0.3
    config.optimizer.warmup_steps = 100
    config.training.steps = 2400
    config.training.eval_every = 600
    config.training.save_every = 600
    if variant == "smoke":
        config.data.source = "shapes"
        config.data.eval_split = "val"
        return smoke(config, decoder=dict(widths=None))
    return config
