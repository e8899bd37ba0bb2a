"""Random crops on `shapes`: the localizer on each of many crops.

    python -m experiments.train --config=configs/random_crops_shapes.py --workdir=runs/random_crops_shapes

Model       cnnvision/models/random_crops.py: EfficientNet-Lite0 from ImageNet weights on 64×64 pixels of each crop
Data        shapes: 2,000 + 500 images of 128×128 made on the spot, one to eight objects of six classes
Hardware    two x86 cores
Result      val, 500 images: AP .246, AP50 .502, AP75 .208, APs .120, APm .241, APl .391; the 400 crops of an image find .65
            of its objects (IoU of .5)
"""

from ml_collections import ConfigDict

from configs.common import base, made_proposals, no_variant, smoke


def get_config(variant: str = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = ConfigDict(
        dict(
            name="random_crops",
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
            side=64,  # of a crop as the network sees it, pixels
            stride=16,  # of the feature map that both heads look at; 0 for the last
            alpha=0.5,  # L = α·Lc + (1 − α)·Lr
            class_pooling="attention",
            box_pooling="attention",
            box_loss="giou",
            label_smoothing=0.0,
            dropout=0.0,
            max_objects=8,
            chunk=50,  # crops of an image that are looked at together, in prediction
            **made_proposals(),
            regions=dict(  # the crops to learn from
                number=8,  # of an image
                share=0.5,  # with an object, at most
                positive_from=0.5,  # IoU
                negative_from=0.0,
                negative_below=0.5,
            ),
            detections=dict(score_above=0.05, threshold=0.3, most=100),
        )
    )
    config.model.proposals.update(method="random", most=400, scales=(0.08, 0.8), ratios=(0.5, 2.0))
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
        return smoke(config)
    if variant:
        raise no_variant(variant, "smoke")
    return config
