"""What region detectors cost with VGG-16 on one photograph, as in their papers, and where the seconds go.

    python -m experiments.detection_speed [--image=FILE] [--proposals=2000] [--crops=200] [--rounds=3] [--smoke]

R-CNN, Fast R-CNN and Faster R-CNN with 20 classes; the image's shorter side is 600 pixels, R-CNN's crops have 224. Weights
are random: what they are changes no time but that of the suppression, and here every box takes part in it. R-CNN is measured
on `--crops` proposals, and counts as often as these go into all of them.
"""

import sys

from experiments.command_line import Parser, cache_compilations, main

CLASSES = 20
SIDE, MULTIPLE = 600, 16
"""Shorter side of the image that Fast and Faster R-CNN see; sides are whole multiples of the network's stride."""
CHUNK = 20
"""R-CNN's crops that go through the network together."""


def configs(proposals: int, crops: int, size: tuple[int, int], smoke: bool):
    """Name -> config; `smoke`: the smallest backbone, narrow heads."""
    from ml_collections import ConfigDict

    from configs import fast_rcnn_shapes, faster_rcnn_shapes, rcnn_shapes

    made = {"R-CNN": rcnn_shapes, "Fast R-CNN": fast_rcnn_shapes, "Faster R-CNN": faster_rcnn_shapes}
    made = {name: module.get_config() for name, module in made.items()}
    width = 16 if smoke else 4096
    backbone = dict(name="vgg16", norm="none", frozen_stages=0, dtype="float32")
    if smoke:
        backbone = dict(name="small", width=4, layers=2, norm="frozen", frozen_stages=0, dtype="float32")
    for config in made.values():
        config.model.backbone, config.model.pretrained = ConfigDict(backbone), ""
        config.model.detections.score_above = 0.0
        config.data.size = size
    made["R-CNN"].model.update(side=224, context=16, stride=0 if smoke else 32, hidden=(width, width))
    made["R-CNN"].model.proposals.most = crops
    made["R-CNN"].model.chunk = min(CHUNK, crops)
    for name in ("Fast R-CNN", "Faster R-CNN"):
        config = made[name]
        config.model.update(neck="none", strides=(8,) if smoke else (16,))
        config.model.regions.update(hidden=(width, width), pooling="max")
    made["Fast R-CNN"].model.proposals.most = proposals
    # Ren et al. 2015, sections 3.1.1 and 3.3: nine anchors a place, 6,000 of them before the suppression, 300 after it.
    made["Faster R-CNN"].model.anchors.sizes = ((128, 256, 512),)
    made["Faster R-CNN"].model.proposals.update(before=6000, most=min(300, proposals), threshold=0.7)
    return made


def one_image_batch(task, image, size: tuple[int, int], boxes):
    """A batch of the image, enlarged to `size`, with its proposals (original pixels)."""
    import cv2
    import numpy as np

    from experiments.runs import empty_batch

    batch, (height, width) = empty_batch(task, 1), size
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    batch = batch.replace(image=large[None], size=np.array([size], np.int32), valid=np.ones(1, bool))
    if batch.proposals is None:
        return batch
    most = batch.proposals.valid.shape[1]
    scaled = boxes[:most] * (np.array([width, height] * 2) / np.array(image.shape[1::-1] * 2))
    padded = np.zeros((1, most, 4), np.float32)
    padded[0, : len(scaled)] = scaled
    return batch.replace(proposals=batch.proposals.replace(boxes=padded, valid=np.arange(most)[None] < len(scaled)))


def run(image=None, proposals: int = 2000, crops: int = 200, rounds: int = 3, smoke: bool = False, say=print) -> list:
    """Measures; returns a `detection_ladder.Contender` for each detector.

    Args:
        image: uint8 [h, w, 3] RGB; None for a photograph that scikit-learn brings.
        proposals: of selective search, at most.
        crops: of them on which R-CNN is measured.
        rounds: measurements of each program, in turns; the median counts.
        smoke: small networks: numbers mean nothing.
    """
    import time

    import jax
    import sklearn.datasets

    from cnnvision.data.proposals import propose
    from cnnvision.models import make_task
    from cnnvision.task import DataInfo, ProposalSpec
    from experiments.costs import cost_of, on_one_device
    from experiments.detection_ladder import Contender

    image = sklearn.datasets.load_sample_image("china.jpg") if image is None else image
    scale = (64 if smoke else SIDE) / min(image.shape[:2])
    size = tuple(max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in image.shape[:2])
    spec, seconds = ProposalSpec("selective_search", proposals), []
    for _ in range(rounds):
        began = time.perf_counter()
        boxes = propose(image, spec)
        seconds.append(time.perf_counter() - began)
    say(f"{image.shape[1]}×{image.shape[0]} pixels: {len(boxes)} proposals; the networks see {size[1]}×{size[0]}")
    ahead = sorted(seconds)[len(seconds) // 2]
    contenders = []
    for name, config in configs(proposals, crops, size, smoke).items():
        task = make_task(config, DataInfo(tuple(f"class{k}" for k in range(CLASSES))))
        batch = one_image_batch(task, image, size, boxes)
        arguments = on_one_device(*jax.jit(task.init)(jax.random.key(0), batch), batch, 1)
        parts = {**task.parts, "post-processing": task.predict}
        programs = {part: cost_of(function, arguments, 1) for part, function in parts.items()}
        for cost in [*programs.values()] * rounds:
            cost.measure()
        if name == "R-CNN":
            for cost in programs.values():
                cost.gflops, cost.seconds = (
                    cost.gflops * proposals / crops,
                    [one * proposals / crops for one in cost.seconds],
                )
        contenders.append(Contender(name, None, {}, {}, programs, 0.0 if task.inputs.proposals is None else ahead))
        say(f"{name}: {contenders[-1].seconds:.3g} s, {contenders[-1].gflops:.4g} GFLOP")
        del arguments
    return contenders


def report(contenders) -> str:
    """The table, and how each compares with the one before it."""
    from experiments.detection_ladder import PARTS, steps
    from experiments.tables import markdown

    rows = [
        [each.name, f"{each.gflops:,.0f}", *(f"{each.split.get(part, 0.0):.3g}" for part in PARTS), f"{each.seconds:.3g}"]
        for each in contenders
    ]
    return "\n".join(
        [markdown(("detector", "GFLOP", *(f"{part}, s" for part in PARTS), "in all, s"), rows), "", *steps(contenders)]
    )


def command(arguments: list[str] | None = None) -> int:
    """Parses, measures, prints."""
    parser = Parser("detection_speed", __doc__)
    parser.add_argument("--image", metavar="FILE", help="by default a photograph that scikit-learn brings")
    parser.add_argument("--proposals", type=int, default=2000, metavar="N")
    parser.add_argument("--crops", type=int, default=200, metavar="N", help="proposals on which R-CNN is measured")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--smoke", action="store_true", help="seconds; numbers mean nothing")
    flags, _ = parser.parse(arguments)
    if (
        min(flags.proposals, flags.crops, flags.rounds) < 1
        or flags.proposals % flags.crops
        or flags.crops % min(CHUNK, flags.crops)
    ):
        parser.error(f"--crops must divide --proposals, and be a multiple of {CHUNK} or less; all of them at least 1")
    cache_compilations()
    image = None
    if flags.image:
        from cnnvision.data.loose import LooseImages

        image = LooseImages(flags.image).read(0).image
    print(report(run(image, flags.proposals, flags.crops, flags.rounds, flags.smoke)))
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    main(command)
