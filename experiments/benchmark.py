"""Measures a network's forward pass and training step, on whatever device there is, and against torchvision.

    python -m experiments.benchmark [--network=resnet50] [--batch=8] [--size=224] [--dtype=float32] [--against=PYTHON]

Prints the median of several runs, the compile time, the memory that XLA planned and the most that the process had, and
the operations that XLA counts (of a loop one round), by the second. `--against` names the Python of an environment that has
torchvision: then the two are measured in turns, on the same machine in the same minutes, and the ratio of the medians is
printed (below 1: ours is faster). `--only` leaves out the other pass, so that the process has what this one needs.

`--network` is a backbone, as a classifier of 1,000 classes, or a detector as torchvision trains it on COCO, with frozen
norms and first stages (ssd300_vgg16, of 300 pixels, as torchvision trains it without downloaded weights: all of it); ten
objects in each image. Both sides then have the same images and weights. These are drawn: such a network finds as many
detections as it may. Those of Mask R-CNN are counted with their masks pasted into the image.
"""

import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnvision.installation import ROOT

from .command_line import Parser, cache_compilations, main

PASSES = ("forward", "train")
RESNET = {"name": "resnet50", "norm": "frozen", "frozen_stages": 2}
DETECTORS = {
    "fasterrcnn_resnet50_fpn": ("faster_rcnn", RESNET),
    "maskrcnn_resnet50_fpn": ("mask_rcnn", RESNET),
    "ssd300_vgg16": ("ssd", {"name": "vgg16_dilated", "norm": "none", "frozen_stages": 0}),
}
"""torchvision's name -> the file of `cnnvision.models`, and the backbone."""
OBJECTS = 10
"""In each image, of a detector's."""
Size = tuple[int, int]


def make_task_of(network: str, size: Size, dtype: str) -> Any:
    """The task of `--network` on inputs of (height, width)."""
    import importlib

    from cnnvision.models import classifier, make_task
    from cnnvision.runs.defaults import base, section
    from cnnvision.task import DataInfo

    if network in DETECTORS:
        file, backbone = DETECTORS[network]
        detector = importlib.import_module(f"cnnvision.models.{file}")
        model, classes = detector.Settings(backbone={**backbone, "dtype": dtype}, max_objects=OBJECTS), 90
    else:
        norm = "none" if network == "vgg16" else "batch"
        backbone = {"name": network, "norm": norm, "frozen_stages": 0, "dtype": dtype}
        model, classes = classifier.Settings(backbone=backbone), 1000
    config = base()
    config.model, config.data.size = section(model), size
    return make_task(config, DataInfo(tuple(f"class{i}" for i in range(classes))))


def boxes_of(batch: int, size: Size) -> np.ndarray:
    """float32 [batch, OBJECTS, 4]: objects of all sizes."""
    corners = np.random.default_rng(0).uniform(0, np.array(size)[::-1] - 1, (batch, OBJECTS, 2, 2))
    corners = np.sort(corners, axis=2)
    corners[:, :, 1] += 1
    return corners.reshape(batch, OBJECTS, 4).astype(np.float32)


def make_batch(network: str, task: Any, batch: int, size: Size) -> Any:
    """Images of noise; of a detector's, objects whose masks fill their boxes."""
    from cnnvision.runs.join import empty_batch

    data = empty_batch(task, batch)
    target = data.target.replace(valid=np.ones_like(data.target.valid))
    if network in DETECTORS:
        target = target.replace(boxes=boxes_of(batch, size))
        target = target.replace(masks=None if target.masks is None else np.ones_like(target.masks))
    return data.replace(
        image=np.random.default_rng(0).integers(0, 256, data.image.shape, dtype=np.uint8),
        size=np.full((batch, 2), size, np.int32),
        valid=np.ones(batch, bool),
        target=target,
    )


def make_programs(
    task: Any, params: Any, model_state: Any, data: Any, passes: Sequence[str] = PASSES
) -> dict[str, tuple[Callable[[], object], dict[str, float]]]:
    """Pass -> (a function that runs it once and waits, facts of its compiled program: seconds to compile, GFLOP, GiB)."""
    import jax
    import optax

    optimizer = optax.sgd(1e-5, momentum=0.9)  # weights are random, so that no step may move them far
    data, opt_state = jax.device_put(data), optimizer.init(params) if "train" in passes else None

    def train(params, model_state, opt_state, batch):
        def objective(params):
            loss, aux = task.loss(params, model_state, batch, jax.random.key(0), True)
            return loss.value(), aux.model_state

        (_, model_state_), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), model_state_, opt_state

    programs = {}
    for name, function, arguments, donated in (
        ("forward", task.predict, (params, model_state, data), ()),
        ("train", train, (params, model_state, opt_state, data), (0, 1, 2)),
    ):
        if name not in passes:
            continue
        began = time.perf_counter()
        compiled = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
        seconds = time.perf_counter() - began
        print(f"{name}: compiled in {seconds:.1f} s", flush=True)
        memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
        facts = {"compile": seconds, "gflop": cost.get("flops", 0.0) / 1e9}
        facts["gib"] = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30 if memory else 0.0
        programs[name] = (_runner(compiled, arguments, bool(donated)), facts)
    return programs


def _runner(compiled: Callable, arguments: tuple, donated: bool) -> Callable[[], object]:
    import jax

    from cnnvision.evaluation.coco_results import detections_of
    from cnnvision.types import InstancePrediction

    # The state is handed from call to call, as a training loop does. Nothing needs it afterwards: training is measured last.
    state = [arguments]

    def run():
        result = jax.block_until_ready(compiled(*state[0]))
        if donated:
            state[0] = (*result, arguments[-1])
        elif isinstance(result, InstancePrediction):
            rows = [jax.tree.map(lambda x, i=i: np.asarray(x[i]), result) for i in range(len(result.boxes))]
            return [list(detections_of(row, arguments[-1].image.shape[1:3])) for row in rows]
        return result

    return run


def measure(run: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each of `rounds` runs, after one that does not count."""
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds


def write_shared(file: pathlib.Path, network: str, params: Any, model_state: Any, data: Any) -> None:
    """What both sides have: images; for a detector the objects, and the weights by torch's keys."""
    from cnnvision.pretrained.detectors import to_torchvision_detector

    shared = {"image": data.image}
    if network in DETECTORS:
        shared |= {"boxes": data.target.boxes, **to_torchvision_detector(params, model_state, DETECTORS[network][1]["name"])}
    np.savez(file, **shared)


def peer(python: str, network: str, file: pathlib.Path) -> subprocess.Popen:
    """torchvision's side: a process that measures one pass a line that it is sent, and writes its seconds and memory."""
    command = [python, str(ROOT / "experiments/benchmark_torchvision.py"), network, str(file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(
    network: str, batch: int, size: Size, dtype: str, rounds: int, against: str | None, passes: Sequence[str] = PASSES
) -> list[dict[str, object]]:
    """Measures; one row a pass: median, fastest and slowest milliseconds, and torchvision's beside them."""
    import jax

    task = make_task_of(network, size, dtype)
    data = make_batch(network, task, batch, size)
    params, model_state = jax.jit(task.init)(jax.random.key(0), data)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "shared.npz"
        if against:
            write_shared(file, network, params, model_state, data)
        programs = make_programs(task, params, model_state, data, passes)
        other = peer(against, network, file) if against else None
        rows = []
        for name in programs:
            function, facts = programs[name]
            ours, theirs = measure(function, rounds), []
            if other:
                for _ in range(2):  # in turns, so that a machine whose speed drifts treats both equally
                    other.stdin.write(f"{name} {rounds}\n")
                    other.stdin.flush()
                    answer = json.loads(other.stdout.readline())
                    theirs += answer["seconds"]
                    ours += measure(function, rounds)
            median = statistics.median(ours)
            row = {"pass": name, "ms": median * 1e3, "fastest": min(ours) * 1e3, "slowest": max(ours) * 1e3}
            row |= {
                "images/s": batch / median,
                "GFLOP/s": facts["gflop"] / median,
                "compile s": facts["compile"],
                "planned GiB": facts["gib"],
                "process GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
            if theirs:
                other_median = statistics.median(theirs)
                row |= {"torchvision ms": other_median * 1e3, "ratio": median / other_median}
                row["torchvision process GiB"] = answer["gib"]
            rows.append(row)
        if other:
            other.stdin.close()
            other.wait()
    print(f"{network}, batch {batch}, {size[0]}×{size[1]}, {dtype}, {jax.devices()[0].device_kind}, JAX {jax.__version__}")
    return rows


def size_of(text: str) -> Size:
    """ "224" -> (224, 224), "480x640" -> (480, 640)."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def command(arguments: list[str] | None = None) -> int:
    """Parses, measures, prints."""
    parser = Parser("benchmark", __doc__)
    parser.add_argument("--network", default="resnet50", metavar="NAME", help=f"a backbone, or {', '.join(DETECTORS)}")
    parser.add_argument("--batch", type=int, default=8, metavar="N")
    parser.add_argument("--size", type=size_of, default=(224, 224), metavar="PIXELS", help="a side, or 480x640")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--only", choices=PASSES, help="one of the passes; both by default")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--against", metavar="PYTHON", help="the python of an environment with torchvision")
    flags, _ = parser.parse(arguments)
    if min(flags.batch, *flags.size, flags.rounds) < 1:
        parser.error("--batch, --size and --rounds must be at least 1")
    cache_compilations()
    passes = (flags.only,) if flags.only else PASSES
    rows = run(flags.network, flags.batch, flags.size, flags.dtype, flags.rounds, flags.against, passes)

    from .reports.tables import markdown

    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    return 0


if __name__ == "__main__":
    main(command)
