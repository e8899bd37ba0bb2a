"""Tables of what a run needs: planned for chips that are elsewhere, and measured here."""

import math
from collections.abc import Callable
from typing import Any

import jax

from cnnvision.programs.chips import Chip, product_type
from cnnvision.programs.compiling import Needs
from cnnvision.runs.plan import Plan, least_seconds
from cnnvision.training.progress import duration, peak_memory_gib

from .tables import markdown


def table(config: Any, made: Plan, chip: Chip, price: float | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Says what a `Plan` for a chip holds; returns its figures, in bytes, seconds and dollars."""
    product = product_type(config, chip.name)
    least = {
        name: least_seconds(needs, chip, made.devices, product)
        for name, needs in (("step", made.step), ("prediction", made.prediction))
    }
    bound = {name: max(seconds, key=seconds.get) for name, seconds in least.items()}
    seconds = {name: each[bound[name]] for name, each in least.items()}
    rate = config.data.batch_size / seconds["step"]
    hours = config.training.steps * seconds["step"] / 3600
    gib = lambda size: f"{size / 2**30:.2f} GiB"
    several = f", the largest of {len(made.sizes)} sizes, each a program of its own" if len(made.sizes) > 1 else ""
    rows = [
        ("chips, hosts", f"{made.devices} × {chip.name}, {made.hosts}"),
        ("input", "×".join(map(str, max(made.sizes, key=math.prod))) + several),
        ("memory a chip", f"{gib(made.memory)} of {gib(chip.memory)}{'' if made.memory <= chip.memory else ': TOO MUCH'}"),
        ("- state, batch, temporaries", f"{gib(made.state)}, {gib(made.batch)}, {gib(made.step.temporaries)}"),
        ("- prediction's temporaries", gib(made.prediction.temporaries)),
        ("compilation here", f"step {made.step.compile_seconds:.0f} s, prediction {made.prediction.compile_seconds:.0f} s"),
        ("a step and chip", f"{made.step.flops / 1e12:.3f} TFLOP, {made.step.traffic / 1e9:.1f} GB of memory traffic"),
        ("between chips", crossing(made.step)),
        ("least time of a step", f"{seconds['step'] * 1e3:.1f} ms, bound by {bound['step']} (products in {product})"),
        ("- by each", ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in least["step"].items())),
        ("images a second at most", f"{rate:,.0f} in training, "
                                    f"{config.data.eval_batch_size / seconds['prediction']:,.0f} in prediction"),
        (f"{config.training.steps:,} steps at least", duration(hours * 3600)),
    ]  # fmt: skip
    figures = {"memory": made.memory, "fits": made.memory <= chip.memory, "step_seconds": seconds["step"]}
    figures |= {"images_per_second": rate, "hours": hours, "compile_seconds": made.step.compile_seconds}
    if price is not None:
        figures["dollars"] = hours * made.devices * price
        rows.append(("cost at least", f"${figures['dollars']:,.2f}, at ${price} for an hour of a chip"))
    say(markdown(("a run", "needs"), rows))
    return figures


def crossing(needs: Needs) -> str:
    """What moves between devices in one run, in words."""
    kinds: dict[str, list[int]] = {}
    for each in needs.collectives:
        kinds.setdefault(each.kind + (" in a loop" if each.in_loop else ""), []).append(each.bytes)
    return ", ".join(f"{len(sizes)} {kind} of {sum(sizes) / 1e6:,.1f} MB" for kind, sizes in kinds.items()) or "nothing"


def table_here(config: Any, needs: Needs, step: float, price: float | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Says what steps on this machine's devices took, `step` seconds each; returns the figures."""
    devices, hours, memory = jax.devices(), config.training.steps * step / 3600, peak_memory_gib()
    rate = config.data.batch_size / step
    rows = [
        ("devices", f"{len(devices)} × {devices[0].device_kind}"),
        ("memory", f"{memory:.2f} GiB at most so far; the step's plan: {needs.memory / 2**30:.2f} GiB a device"),
        ("compilation", f"{needs.compile_seconds:.0f} s"),
        ("a step and device", f"{needs.flops / 1e12:.3f} TFLOP, {needs.traffic / 1e9:.1f} GB of memory traffic"),
        ("between devices", crossing(needs)),
        ("time of a step", f"{step * 1e3:.1f} ms, measured: the median of some steps"),
        ("images a second", f"{rate:,.1f}"),
        (f"{config.training.steps:,} steps", duration(hours * 3600)),
    ]
    figures = {"memory": memory * 2**30, "fits": True, "step_seconds": step}
    figures |= {"images_per_second": rate, "hours": hours, "compile_seconds": needs.compile_seconds}
    if price is not None:
        figures["dollars"] = hours * len(devices) * price
        rows.append(("cost", f"${figures['dollars']:,.2f}, at ${price} for an hour of a device"))
    say(markdown(("a run", "needs"), rows))
    return figures
