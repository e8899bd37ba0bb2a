"""Every key that the pipeline, the optimizer and the loop read, each with its meaning; experiments set what differs.

There is one level: an experiment's file calls `base()` and overwrites. Nothing else is inherited.
"""

from ml_collections import ConfigDict

from cnnvision.errors import ConfigError, nearest


def base() -> ConfigDict:
    """A config without a model: an experiment adds `model`, and sets the rest."""
    config = ConfigDict()
    config.data = ConfigDict(
        dict(
            source="shapes",  # which data: see README, "Bring your own data"
            train_split="train",
            eval_split="val",
            eval_examples=0,  # evaluate on the first so many alone; 0 for all
            size=(128, 128),  # height, width of the network's input, pixels
            more_sizes=(),  # ((height, width), …), of training alone: a step takes `size` or one of these, by chance
            resize="stretch",  # "stretch", "letterbox" (pad right and bottom), "crop" (centre, ImageNet's way) or "tile"
            margin=-1,  # "tile": pixels at each side that only give context; -1 for as far as the network sees, or two of
            # its coarsest cells where a deep backbone sees further than a tile is wide
            batch_size=32,  # of all devices and processes together
            eval_batch_size=64,
            threads=2,  # that read and augment ahead, in this process
            workers=0,  # processes that do it instead; 0 for none
            prefetch=4,  # batches read ahead
            cache_mb=1024,  # decoded images kept in memory, megabytes; 0 for none
            augment=dict(  # drawn anew for each example and epoch; off by default
                flip=0.0,  # probability of a horizontal flip
                flip_vertical=0.0,
                crop_area=(1.0, 1.0),  # (least, most) share of the image's area that is cut out; above 1 zooms out
                crop_aspect=(1.0, 1.0),  # (least, most) factor on the cut's width / height
                translate=0.0,  # most shift of the cut, as a share of its sides
                rotate=0.0,  # most degrees, either way
                zoom=(1.0, 1.0),  # "tile": (least, most) enlargement
                quarter_turns=False,  # "tile": by 0, 90, 180 or 270 degrees
                elastic=0.0,  # "tile": standard deviation of displacements on a coarse grid, pixels
                elastic_grid=3,  # its points along each side
                brightness=0.0,  # the factor is drawn from 1 ± this
                contrast=0.0,
                saturation=0.0,
                hue=0.0,  # most turn, as a share of the colour circle
                fill=(124, 116, 104),  # RGB of what lies outside the image
                min_visible=0.25,  # an object is dropped where less than this share of its box stays
            ),
        )
    )
    config.optimizer = ConfigDict(
        dict(
            name="adamw",  # "adamw", "sgd" or "muon" (momentum made orthogonal for matrices, NAdam for the rest)
            learning_rate=1e-3,  # at its highest
            backbone_factor=1.0,  # on the learning rate of the backbone: below 1 where it is pretrained
            schedule="cosine",  # "cosine" to 0, "constant", or "step"
            warmup_steps=0,  # linear, from 0
            decay_at=(0.667, 0.889),  # "step": after these shares of the run …
            decay_factor=0.1,  # … the learning rate is multiplied by this
            weight_decay=1e-4,  # on weights of layers only: not on biases, not on norms
            clip_norm=0.0,  # most global norm of the gradient; 0 for no limit
            momentum=0.9,  # "sgd", "muon"
            nesterov=False,  # "sgd"
            beta1=0.9,  # "adamw", and the rest of "muon"
            beta2=0.999,  # likewise
            epsilon=1e-8,  # likewise
        )
    )
    config.training = ConfigDict(
        dict(
            steps=1000,
            seed=0,
            log_every=50,  # steps; metrics are averages since the last logged step
            eval_every=500,  # steps; 0 for the end alone. Each evaluation is saved, too
            save_every=500,  # steps
            keep=2,  # last checkpoints kept, beside the best
            accumulate=1,  # slices of a batch that are computed one after the other
            ema_decay=0.0,  # of the moving average of the parameters that evaluates and predicts; 0 for none
            split_parameters=False,  # over the devices (FSDP), instead of a copy on each
            matmul_precision="default",  # of float32 products on accelerators: "default", "high", "highest"
        )
    )
    for section in config.values():
        section.lock()  # a config file cannot set a key that nothing reads
    return config


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


def no_variant(variant: str, *known: str) -> ConfigError:
    """The error for a variant that a config file does not have; `known` are those it has."""
    return ConfigError(f"--config: there is no variant {variant!r}.{nearest(variant, known)}")


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks any experiment to a few seconds on a CPU, on the data set that needs no download.

    The numbers that come out mean nothing; the path through the code is the same, with the smallest backbone.
    """
    model = config.model
    if "backbone" in model and model.backbone.name == "contracting_path":
        model.backbone.width, model.backbone.depth = 4, 2
    elif "backbone" in model:
        model.backbone = ConfigDict(dict(name="small", width=8, layers=2, norm="batch", frozen_stages=0, dtype="float32"))
        model.pretrained = ""
    if "stride" in model:
        model.stride = 0  # the last
    for key, value in dict(width=4, depth=2, kernels=(4, 4), window=21, samples=16).items():
        if key in model:
            model[key] = value
    if "window" in model:
        model.hidden = 8
    if "decoder" in model:
        model.decoder.widths = ()
    if "regions" in model:
        model.regions.number, model.proposals.most = 16, 30
    if "max_objects" in model:
        model.max_objects = 8
    if "strides" in model:
        model.strides = (4, 8) if model.neck == "fpn" else (4,)
        model.width, model.regions.hidden = 8, (16,)
    if "proposals" in model and "least_side" in model.proposals:
        model.proposals.least_side = 1
        config.data.train_split = config.data.eval_split  # proposals take time: those of few images
    if "chunk" in model and "side" in model:
        model.chunk, model.side = 10, 16
    if "svm" in model:
        model.hidden, model.context, model.svm.examples, model.boxes.examples = (8,), 1, 24, 24
    if "anchors" in model:
        model.anchors.sizes = ((12,), (24,), (48,)) if model.neck == "fpn" else ((12, 24, 48),)
        model.proposals.update(before_train=50, most_train=50, before=50)
    config.data.size, config.data.more_sizes = (64, 64), ()
    config.data.batch_size = 8
    config.data.eval_batch_size = 8
    config.data.eval_examples = 24
    config.data.cache_mb = 0
    config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, 1)
    config.training.steps = 4
    config.training.log_every = 2
    config.training.eval_every = 4
    config.training.save_every = 2
    return config
