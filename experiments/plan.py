"""What a run will need on devices that need not be here: memory, time, traffic, money; before a bill finds it out.

    python -m experiments.plan --config=configs/NAME.py [--topology=v5e:4x4] [--classes=N] [--price=DOLLARS]

Compiles the real training step and prediction for the devices. `--topology` is one of TPUs that libtpu knows (v5e:2x2,
v6e:4x4, v4:2x2x1, …; pip install libtpu, no TPU is needed) or "here", the devices of this machine, on which some steps are
then run. Keys of the config are set with --config.KEY=VALUE.

The least time of a step is what the chip's arithmetic, memory and network need at their best, whichever is the largest; real
steps take longer. Loops that end when the data say so (suppressions) count as one round. Where the memory of a chip does not
suffice, changes that need less are tried, and the first that fits is named.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .command_line import Parser, main

STEPS = 5
"""Steps that are run here, after the first."""

PIPELINE_SECONDS = 10.0

DESCRIBED = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
"""Environment in which libtpu describes chips, and looks for none on this machine or in its cloud."""


def run(
    config: Any,
    topology: str = "here",
    classes: int | None = None,
    price: float | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Plans a run, and says it; returns the figures, in bytes, seconds and dollars.

    Args:
        config: a ConfigDict.
        topology: of TPUs, or "here".
        classes: how many the data have, where they are not on this machine.
        price: dollars for an hour of a chip.
        say: prints a line.
    """
    from cnnvision.programs.chips import of_topology
    from cnnvision.runs.plan import changed, plan, smaller, topology_mesh

    from .reports.plans import table

    if topology == "here":
        return here(config, price, say)
    chip = of_topology(topology)
    mesh = topology_mesh(topology)
    info = info_of(config, classes)
    made = plan(config, info, mesh)
    figures = table(config, made, chip, price, say)
    if made.memory > chip.memory:
        for key, value in smaller(config, made):
            needed, flag = plan(changed(config, {key: value}), info, mesh).memory, f"--config.{key}={str(value).lower()}"
            fits = needed <= chip.memory
            say(f"- With {flag}: {needed / 2**30:.2f} GiB a chip{': it fits' if fits else ''}")
            if fits:
                figures["cure"] = flag
                break
    say(input_line(config, figures["images_per_second"] / made.hosts, made.hosts))
    return figures


def info_of(config: Any, classes: int | None) -> Any:
    """What the task must know of the data: of the data themselves, or, where they are elsewhere, so many classes."""
    from cnnvision.data.sources import open_source
    from cnnvision.errors import ConfigError, DataError
    from cnnvision.runs.join import data_info
    from cnnvision.task import DataInfo

    if classes is not None:
        names = tuple(f"class {index}" for index in range(classes))
        return DataInfo(names, names)
    try:
        return data_info(open_source(config.data.source, config.data.train_split))
    except DataError as error:
        raise ConfigError(
            f"{str(error).splitlines()[0]} A plan needs no more than the number of their classes: give it with --classes=N."
        ) from error


def input_line(config: Any, wanted: float, hosts: int) -> str:
    """How many images a second each host must read, and how many this machine's pipeline gives where the data are here."""
    need = f"Input: each of {hosts} hosts reads up to {wanted:,.0f} images a second"
    measured = pipeline_rate(config)
    if measured is None:
        return f"{need}; the data are not on this machine, so that its pipeline was not measured."
    cores = os.cpu_count() or 1
    return (
        f"{need}; this machine's {cores} cores give {measured:,.0f} ({measured / cores:,.0f} a core), "
        f"so {wanted / measured * cores:,.0f} cores a host would keep up."
    )


def pipeline_rate(config: Any) -> float | None:
    """Images a second of the training pipeline on this machine; None where its data are elsewhere."""
    from cnnvision.errors import CnnvisionError
    from cnnvision.runs.join import join

    with tempfile.TemporaryDirectory() as folder:
        try:
            batches = iter(join(_for_here(config), folder, say=lambda line: None).train_batches(0, config.training.steps))
            next(batches)
        except (CnnvisionError, StopIteration):
            return None
        began, images = time.perf_counter(), 0
        for loaded in batches:
            images += int(loaded.batch.valid.sum())
            if time.perf_counter() - began > PIPELINE_SECONDS:
                break
        rate = images / max(time.perf_counter() - began, 1e-9)
        if hasattr(batches, "close"):
            batches.close()
    return rate or None


def _for_here(config: Any) -> Any:
    """The config with a batch that this machine's devices can split, which changes nothing of the images a second."""
    import jax

    from cnnvision.runs.plan import changed

    size = max(1, min(config.data.batch_size, 8) // jax.device_count()) * jax.device_count()
    return changed(config, {"data.batch_size": size, "training.accumulate": 1})


def here(config: Any, price: float | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Compiles and runs some steps on this machine's devices, and says what they took."""
    import jax

    from cnnvision.programs.compiling import needs_of
    from cnnvision.runs.join import join
    from cnnvision.training.loop import compile_step, new_state
    from cnnvision.training.sharding import put_batch
    from cnnvision.training.stopping import StopRequest, stop_flags

    from .reports.plans import table_here

    with tempfile.TemporaryDirectory() as folder:
        made = join(config, folder, say=say)
        state = new_state(made)
        stop = stop_flags(StopRequest(), made.mesh)
        batches = iter(made.train_batches(0, STEPS + 1))
        batch = put_batch(next(batches).batch, made.mesh)
        program, needs = needs_of(compile_step(made, state).jitted.lower(state, batch, stop))
        seconds = []
        for loaded in [None, *batches]:
            batch = batch if loaded is None else put_batch(loaded.batch, made.mesh)
            began = time.perf_counter()
            state, _ = jax.block_until_ready(program(state, batch, stop))
            seconds.append(time.perf_counter() - began)
    step = statistics.median(seconds[1:])
    figures = table_here(config, needs, step, price, say)
    say(input_line(config, figures["images_per_second"], 1))
    return figures


def command(arguments: list[str] | None = None) -> int:
    """Parses and plans; exit code 1 where a run would not fit."""
    parser = Parser("plan", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, and a variant")
    parser.add_argument("--topology", default="here", metavar="CHIP:AxB", help='v5e:4x4, …; "here" by default')
    parser.add_argument("--classes", type=int, metavar="N", help="of the data, where they are not on this machine")
    parser.add_argument("--price", type=float, metavar="DOLLARS", help="of an hour of a chip")
    flags, overrides = parser.parse(arguments)
    if flags.topology != "here":
        os.environ.update({name: os.environ.get(name, value) for name, value in DESCRIBED.items()})
    from cnnvision.runs.configuration import load_config

    figures = run(load_config(flags.config, overrides), flags.topology, flags.classes, flags.price)
    return 0 if figures["fits"] or "cure" in figures else 1


if __name__ == "__main__":
    main(command)
