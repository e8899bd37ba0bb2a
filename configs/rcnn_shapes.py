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

from configs.common import base, made_proposals, no_variant, smoke


def get_config(variant: str = "") -> ConfigDict:
    """variant: "" or "smoke" (seconds, numbers mean nothing)."""
    config = base()
    config.model = ConfigDict(
        dict(
            name="rcnn",
            backbone=dict(name="efficientnet_lite0", norm="frozen", frozen_stages=3, dtype="float32"),
            pretrained="imagenet",
            side=64,  # of a warped region, pixels
            context=4,  # of them around it, on each side: 16 of 227 in the paper
            stride=16,  # of the feature map ("pool5"); 0 for the last
            hidden=(256, 256),  # "fc6" and "fc7"; 4,096 each in the paper
            dropout=0.0,
            max_objects=8,
            chunk=50,  # regions of an image that are looked at together; divides proposals.most
            **made_proposals(),
            regions=dict(  # the regions to fine-tune on
                number=16,  # of an image
                share=0.25,  # with an object, at most
                positive_from=0.5,  # IoU
                negative_from=0.0,
                negative_below=0.5,
            ),
            svm=dict(
                examples=500,  # images to fit to, the first; 0 for all
                C=0.001,
                negative_below=0.3,  # IoU with all objects of the class
                passes=1,  # of hard negative mining over all images
            ),
            boxes=dict(
                examples=500,  # images to fit to, the first; 0 for all
                number=32,  # regions of an image at most, drawn among those that overlap an object enough
                positive_from=0.6,  # IoU
                regularization=1000.0,  # lambda
            ),
            detections=dict(score_above=0.05, threshold=0.3, most=100),
        )
    )
    config.model.proposals.most = 500
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
        return smoke(config)
    if variant:
        raise no_variant(variant, "smoke")
    return config
