"""The keys of models that several experiments share; `base()` has those of data, optimizer and training.

There is one level: an experiment's file calls these functions and overwrites. Nothing else is inherited.
"""

from ml_collections import ConfigDict

from cnnvision.runs.defaults import base, no_variant, smoke  # noqa: F401


def pixel_loss() -> ConfigDict:
    """The losses of models with an answer for each pixel: a weighted sum of terms; a term of weight 0 is left out."""
    return ConfigDict(
        dict(
            cross_entropy=1.0,
            dice=0.0,
            focal=0.0,
            focal_gamma=2.0,
            class_weights=(),  # of the first classes, on cross entropy and focal loss; the others have 1
            border_w0=0.0,  # on top of 1, where two cells touch (U-Net, equation 2); 0 for none
            border_sigma=5.0,  # pixels
            border_background="",  # the class that parts cells; "" for the first
        )
    )


def detector(name: str, proposals: ConfigDict) -> ConfigDict:
    """The keys of Fast and Faster R-CNN, set as in torchvision's recipe for a pyramid on COCO; an experiment sets backbone,
    weights and what differs. `proposals` is one of the two functions below."""
    return ConfigDict(
        dict(
            name=name,
            backbone=dict(),
            pretrained="",
            neck="fpn",  # or "none": one map of the backbone
            strides=(4, 8, 16, 32),  # of the backbone's maps; the pyramid of a region proposal network has one coarser map
            width=256,  # channels of the pyramid's maps
            max_objects=100,  # of an image, in training; the smallest beyond that are left out, and counted
            **proposals,
            regions=dict(
                pooling="align",  # or, of one map, "max": RoI max pooling
                size=7,  # bins along each side
                samples=2,  # of RoIAlign, along each side of a bin
                canonical=224.0,  # side of a box that a pyramid's level of stride 16 is right for, input pixels
                number=512,  # of an image in the loss
                share=0.25,  # of positive ones, at most
                positive_from=0.5,  # IoU
                negative_from=0.0,
                negative_below=0.5,
                hidden=(1024, 1024),  # widths of the fully connected layers
                dropout=0.0,
                beta=1.0 / 9.0,  # where smooth L1 of the box bends; 1 in Fast R-CNN
            ),
            detections=dict(
                score_above=0.05,
                threshold=0.5,  # IoU above which the worse of two of one class goes
                most=100,  # of an image
            ),
            lambda_box=1.0,  # L = Lclass + lambda_box · Lbox (+ Lobj + lambda_rpn · Lrpn)
        )
    )


def learnt_proposals() -> ConfigDict:
    """A region proposal network's keys."""
    return ConfigDict(
        dict(
            anchors=dict(
                sizes=((32,), (64,), (128,), (256,), (512,)),  # of each map, square roots of areas, input pixels
                ratios=(0.5, 1.0, 2.0),  # height / width
            ),
            rpn=dict(
                number=256,  # anchors of an image in the loss
                share=0.5,  # of positive ones, at most
                positive_from=0.7,  # IoU
                negative_below=0.3,
            ),
            proposals=dict(
                before_train=2000,  # the best of each map, before the suppression
                most_train=2000,  # of all maps, after it
                before=1000,  # likewise, in prediction
                most=1000,
                threshold=0.7,  # IoU above which the worse of two goes
            ),
            lambda_rpn=1.0,
        )
    )


def made_proposals() -> ConfigDict:
    """The keys of proposals that are made ahead of the network (cnnvision/data/wrappers/proposals.py)."""
    return ConfigDict(
        dict(
            proposals=dict(
                method="selective_search",  # or "random", "sliding"
                most=2000,  # of an image
                seed=0,  # of their order, and of random ones
                quality=False,  # selective search's slower, more thorough mode
                least_side=256,  # smaller images are enlarged for selective search, pixels
                scales=(0.1, 1.0),  # "random": least, most; "sliding": all; shares of the image's size
                ratios=(0.5, 2.0),  # likewise, height / width
                step=0.25,  # "sliding": distance of neighbours, as a share of their sides
            )
        )
    )
