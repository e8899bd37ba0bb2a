"""What detectors cost with the networks of their papers on one photograph, and where the seconds go.

    python -m experiments.detection_speed [--only=NAME,…] [--image=FILE] [--proposals=2000] [--crops=200] [--chunk=20]
        [--batch=1] [--rounds=3] [--smoke]

R-CNN, Fast R-CNN and Faster R-CNN with VGG-16, YOLO with its own network on 448×448 pixels, and SSD300 with VGG-16, for 20
classes. For the first three the image's shorter side is 600 pixels; R-CNN's crops have 224. Weights are random: they change
no time but that of the suppression, and here every box takes part in it. R-CNN is measured on `--crops` proposals, `--chunk`
of them at a time, and its time is divided by their share of all proposals. `--batch` images go through a network together.
"""

import dataclasses
import math
import os

from cnnvision.errors import DataError

from .command_line import Parser, cache_compilations, chosen_of, main, names_in

CLASSES = 20
SIDE, MULTIPLE = 600, 16
"""Shorter side of the image that Fast and Faster R-CNN see; sides are whole multiples of the network's stride."""
REGIONS = {"R-CNN": "rcnn_shapes", "Fast R-CNN": "fast_rcnn_shapes", "Faster R-CNN": "faster_rcnn_voc"}
NETWORKS = {**REGIONS, "YOLO": "yolo_voc", "SSD300": "ssd300_voc"}
"""Name -> the config that it is made from; those that look at regions are given one backbone and one size of input."""
CHUNK = 20
"""R-CNN's crops that go through the network together, by default; an accelerator wants more."""


def configs(proposals: int, crops: int, chunk: int, size: tuple[int, int], smoke: bool):
    """Name -> config; `smoke`: the smallest backbone, narrow heads."""
    from ml_collections import ConfigDict

    from cnnvision.installation import CONFIGS
    from cnnvision.runs.configuration import load_module

    get_config = lambda name: load_module(f"{CONFIGS}/{name}.py").get_config()
    made = {name: get_config(file) for name, file in NETWORKS.items()}
    rcnn, fast, faster, yolo, ssd = (config.model for config in made.values())
    rcnn.update(side=224, context=16, stride=None if smoke else 32, hidden=(4096, 4096), chunk=chunk)
    fast.update(neck="none", strides=faster.strides)
    fast.regions.update(hidden=faster.regions.hidden, pooling=faster.regions.pooling)
    rcnn.proposals.most, fast.proposals.most = crops, proposals
    faster.proposals.most = min(faster.proposals.most, proposals)
    for name, config in made.items():
        if name in REGIONS:
            config.model.backbone = get_config("faster_rcnn_voc").model.backbone
            config.data.size = size
        config.model.pretrained, config.model.detections.score_above = None, 0.0
        config.data.resize = "stretch"
        if smoke:
            config.data.size = size
            small = dict(name="small", width=4, layers=2, norm="frozen", frozen_stages=0, dtype="float32")
            config.model.backbone = ConfigDict(small)
    if smoke:
        rcnn.hidden = fast.regions.hidden = faster.regions.hidden = (16, 16)
        fast.strides = faster.strides = ssd.strides = (8,)
        yolo.grid.update(cells=2, convolutions=((4, 1),), hidden=(8,))
        ssd.extra_maps.maps, ssd.l2_norm = (), False
        ssd.default_boxes.update(scales=(0.2, 0.4), ratios=((2,),), steps=None)
    return made


def run(
    image: str = "",
    proposals: int = 2000,
    crops: int = 200,
    chunk: int = CHUNK,
    rounds: int = 3,
    smoke: bool = False,
    say=print,
    only=(),
    together: int = 1,
) -> list:
    """Measures; returns a `costs.Cost` for each detector.

    Args:
        image: a file; "" for a photograph that scikit-learn brings.
        proposals: of selective search, at most.
        crops: of them on which R-CNN is measured.
        chunk: of those that go through its network together.
        rounds: measurements of each program; the median counts.
        smoke: small networks: numbers mean nothing.
        only: names of some of the detectors; all by default.
        together: images that go through a network at a time.
    """
    import pathlib
    import tempfile

    import jax
    import sklearn.datasets

    from cnnvision.data.pipeline import eval_batches
    from cnnvision.data.sources.loose import LooseImages
    from cnnvision.data.wrappers.proposals import ProposalStore, WithProposals
    from cnnvision.inputs import ProposalSpec
    from cnnvision.models import make_task
    from cnnvision.runs.join import loading
    from cnnvision.task import DataInfo

    from .reports.costs import cost_of, on_one_device, proposal_seconds

    if image and not os.path.isfile(image):
        raise DataError(f"--image: {image} is no file")
    photograph = LooseImages(image or str(pathlib.Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"))
    pixels = photograph.read(0).image
    scale = (64 if smoke else SIDE) / min(pixels.shape[:2])
    size = tuple(max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in pixels.shape[:2])
    chosen = chosen_of(only, NETWORKS)
    wanted = any(name in ("R-CNN", "Fast R-CNN") for name in chosen)
    ahead = proposal_seconds([pixels] * rounds, ProposalSpec("selective_search", proposals)) if wanted else 0.0
    say(f"{pixels.shape[1]}×{pixels.shape[0]} pixels; networks that look at regions see {size[1]}×{size[0]}")
    costs = []
    for name, config in configs(proposals, crops, chunk, size, smoke).items():
        if name not in chosen:
            continue
        task = make_task(config, DataInfo(tuple(f"class{k}" for k in range(CLASSES))))
        inputs, spec = dataclasses.replace(task.inputs, target=None), task.inputs.proposals
        with tempfile.TemporaryDirectory() as folder:
            source = WithProposals(photograph, ProposalStore(spec, folder)) if spec else photograph
            batch = next(iter(eval_batches(source, inputs, loading(config)))).batch
        arguments = on_one_device(*jax.jit(task.init)(jax.random.key(0), batch), batch, together)
        times = (proposals / crops if name == "R-CNN" else 1.0) / together
        cost = cost_of(name, task, arguments, ahead if spec else 0.0, times)
        for _ in range(rounds):
            cost.measure()
        costs.append(cost)
        say(f"{name}: {cost.seconds:.3g} s an image, {cost.gflops:.4g} GFLOP")
    return costs


def report(costs) -> str:
    """The table, and how each compares with the one before it."""
    from .reports.costs import parts_of, steps
    from .reports.tables import markdown

    parts = parts_of(costs)
    rows = [
        [
            each.name,
            f"{each.gflops:,.4g}" if each.gflops < 1000 else f"{each.gflops:,.0f}",
            *(f"{each.split[part]:.3g}" if part in each.split else "–" for part in parts),
            f"{each.seconds:.3g}",
            f"{1 / each.seconds:.3g}",
        ]
        for each in costs
    ]
    table = markdown(("detector", "GFLOP", *(f"{part}, s" for part in parts), "in all, s", "images a second"), rows)
    return "\n".join([table, "", *steps(costs)])


def command(arguments: list[str] | None = None) -> int:
    """Parses, measures, prints."""
    parser = Parser("detection_speed", __doc__)
    parser.add_argument("--image", default="", metavar="FILE", help="by default a photograph that scikit-learn brings")
    parser.add_argument("--proposals", type=int, default=2000, metavar="N")
    parser.add_argument("--crops", type=int, default=200, metavar="N", help="proposals on which R-CNN is measured")
    parser.add_argument("--chunk", type=int, default=0, metavar="N", help=f"of those, through the network together; {CHUNK}")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"some of {', '.join(NETWORKS)}")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images that go through a network together")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--smoke", action="store_true", help="seconds; numbers mean nothing")
    flags, _ = parser.parse(arguments)
    proposals, crops = flags.proposals, min(flags.crops, flags.proposals)
    chunk = flags.chunk or math.gcd(CHUNK, crops)
    if min(proposals, crops, chunk, flags.rounds, flags.batch) < 1 or proposals % crops or crops % chunk:
        parser.error(
            f"--crops ({crops}) must divide --proposals ({proposals}), and --chunk ({chunk}) must divide --crops; "
            f"these, --rounds ({flags.rounds}) and --batch ({flags.batch}) must be at least 1"
        )
    cache_compilations()
    options = dict(only=names_in(flags.only), together=flags.batch)
    print(report(run(flags.image, proposals, crops, chunk, flags.rounds, flags.smoke, **options)))
    return 0


if __name__ == "__main__":
    main(command)
