"""Measures a network's forward pass and training step, on whatever device there is, and against torchvision.

    python -m experiments.benchmark [--backbone=resnet50] [--batch=8] [--size=224] [--dtype=float32] [--against=PYTHON]

Prints the median of several runs, the compile time, the memory that XLA planned, and the share of the operations that are
counted by XLA a second. `--against` names the Python of an environment that has torchvision: then the two are measured in
turns, on the same machine in the same minutes, and the ratio of the medians is printed (below 1: ours is faster).
"""

import json
import statistics
import subprocess
import time
from collections.abc import Callable

from experiments.command_line import Parser, cache_compilations, main

PASSES = ("forward", "train")


def make_programs(
    backbone: str, batch: int, size: int, dtype: str
) -> dict[str, tuple[Callable[[], object], dict[str, float]]]:
    """Pass -> (a function that runs it once and waits, facts of its compiled program: seconds to compile, GFLOP, GiB)."""
    import jax
    import numpy as np
    import optax

    from cnnvision.models import make_task
    from cnnvision.task import DataInfo
    from experiments.configuration import from_json
    from experiments.runs import empty_batch

    network = {"name": backbone, "norm": "none" if backbone == "vgg16" else "batch", "frozen_stages": 0, "dtype": dtype}
    model = {"name": "classifier", "backbone": network, "pretrained": "", "label_smoothing": 0.0, "dropout": 0.0}
    config = from_json({"model": model, "data": {"size": [size, size], "fit": "stretch"}})
    task = make_task(config, DataInfo(tuple(f"class{i}" for i in range(1000))))
    rng = np.random.default_rng(0)
    data = empty_batch(task, batch)
    data = data.replace(
        image=rng.integers(0, 256, data.image.shape, dtype=np.uint8),
        size=np.full((batch, 2), size, np.int32),
        valid=np.ones(batch, bool),
        target=data.target.replace(valid=np.ones(batch, bool)),
    )
    params, model_state = jax.jit(task.init)(jax.random.key(0), data)
    optimizer = optax.sgd(0.01, momentum=0.9)
    data = jax.device_put(data)

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
        ("train", train, (params, model_state, optimizer.init(params), data), (0, 1, 2)),
    ):
        began = time.perf_counter()
        compiled = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
        seconds = time.perf_counter() - began
        memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
        facts = {"compile": seconds, "gflop": cost.get("flops", 0.0) / 1e9}
        facts["gib"] = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30 if memory else 0.0
        programs[name] = (_runner(compiled, arguments, bool(donated)), facts)
    return programs


def _runner(compiled: Callable, arguments: tuple, donated: bool) -> Callable[[], object]:
    import jax

    # The state is handed from call to call, as a training loop does; each runner owns a copy of what is donated.
    state = [jax.tree.map(lambda x: x.copy() if isinstance(x, jax.Array) else x, arguments)] if donated else [arguments]

    def run():
        result = jax.block_until_ready(compiled(*state[0]))
        if donated:
            state[0] = (*result, arguments[-1])
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


def peer(python: str, backbone: str, batch: int, size: int) -> subprocess.Popen:
    """torchvision's side: a process that measures one pass a line that it is sent, and answers with the seconds."""
    command = [python, "-m", "experiments.benchmark_torchvision", backbone, str(batch), str(size)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(backbone: str, batch: int, size: int, dtype: str, rounds: int, against: str | None) -> list[dict[str, object]]:
    """Measures; one row a pass: median, fastest and slowest milliseconds, and torchvision's beside them."""
    import jax

    programs = make_programs(backbone, batch, size, dtype)
    other = peer(against, backbone, batch, size) if against else None
    rows = []
    for name in PASSES:
        function, facts = programs[name]
        ours, theirs = measure(function, rounds), []
        if other:
            for _ in range(2):  # in turns, so that a machine whose speed drifts treats both alike
                other.stdin.write(f"{name} {rounds}\n")
                other.stdin.flush()
                theirs += json.loads(other.stdout.readline())
                ours += measure(function, rounds)
        median = statistics.median(ours)
        row = {"pass": name, "ms": median * 1e3, "fastest": min(ours) * 1e3, "slowest": max(ours) * 1e3}
        row |= {
            "images/s": batch / median,
            "GFLOP/s": facts["gflop"] / median,
            "compile s": facts["compile"],
            "GiB": facts["gib"],
        }
        if theirs:
            row |= {"torchvision ms": statistics.median(theirs) * 1e3, "ratio": median / statistics.median(theirs)}
        rows.append(row)
    if other:
        other.stdin.close()
        other.wait()
    print(f"{backbone}, batch {batch}, {size}×{size}, {dtype}, {jax.devices()[0].device_kind}, JAX {jax.__version__}")
    return rows


def command(arguments: list[str] | None = None) -> int:
    """Parses, measures, prints."""
    parser = Parser("benchmark", __doc__)
    parser.add_argument("--backbone", default="resnet50", metavar="NAME", help="of cnnvision/backbones")
    parser.add_argument("--batch", type=int, default=8, metavar="N")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--against", metavar="PYTHON", help="the python of an environment with torchvision")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    rows = run(flags.backbone, flags.batch, flags.size, flags.dtype, flags.rounds, flags.against)

    from experiments.tables import markdown

    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    return 0


if __name__ == "__main__":
    main(command)
