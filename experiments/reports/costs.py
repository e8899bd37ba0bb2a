"""What compiled programs cost: operations, and seconds measured in turns with others."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from cnnvision.data.wrappers.proposals import propose
from cnnvision.programs.text import operations
from cnnvision.task import ProposalSpec, Task

PARTS = ("proposals", "backbone", "RoI heads", "post-processing")
"""What an image's seconds are split into; where a network makes its own proposals, their part comes after the backbone."""


@dataclasses.dataclass
class Cost:
    """A compiled program, its arguments, and how long it took.

    Attributes:
        program, arguments: what is run.
        rows: images in the arguments; a fraction where they are tiles.
        gflops: of one image; a suppression counts as one round.
        seconds: of one image, each time it was measured.
    """

    program: Any
    arguments: tuple[Any, ...]
    rows: float
    gflops: float
    seconds: list[float] = dataclasses.field(default_factory=list)

    def measure(self) -> None:
        """Runs it once."""
        began = time.perf_counter()
        jax.block_until_ready(self.program(*self.arguments))
        self.seconds.append((time.perf_counter() - began) / self.rows)

    @property
    def median(self) -> float:
        """Seconds an image."""
        return statistics.median(self.seconds)


@dataclasses.dataclass
class DetectorCost:
    """What one image costs a detector, and where.

    Attributes:
        name: in the table.
        programs: name of a part -> the program up to its end, on one image; the last is the whole prediction.
        proposals: seconds an image of proposals that are made ahead of the network; 0 where it makes its own.
        share: of the proposals that are counted, those on which it is measured: a detector whose cost goes with their
            number counts 1 / share times.
    """

    name: str
    programs: dict[str, Cost]
    proposals: float
    share: float = 1.0

    def measure(self) -> None:
        """Runs each program once."""
        for cost in self.programs.values():
            cost.measure()

    @property
    def split(self) -> dict[str, float]:
        """Seconds of each part that there is: programs up to its end and to the end of the part before differ by so much.

        They add up to the whole: no program that stops before the end counts for more than it.
        """
        seconds, before = {"proposals": self.proposals}, 0.0
        for name, cost in self.programs.items():
            until = min(max(cost.median / self.share, before), self.network_seconds)
            seconds[name] = seconds.get(name, 0.0) + until - before
            before = until
        return {name: seconds[name] for name in PARTS if seconds.get(name)}

    @property
    def seconds(self) -> float:
        """In all."""
        return self.proposals + self.network_seconds

    @property
    def network_seconds(self) -> float:
        """Without proposals that are made ahead of the network."""
        return list(self.programs.values())[-1].median / self.share

    @property
    def gflops(self) -> float:
        """On the network's side."""
        return list(self.programs.values())[-1].gflops / self.share


def on_one_device(params: Any, model_state: Any, batch: Any, rows: int) -> tuple[Any, Any, Any]:
    """The arguments of a prediction on the first `rows` of a batch, all on the first device."""
    batch = jax.tree.map(lambda x: x[:rows], batch.replace(target=None))
    return jax.device_put((jax.device_get(params), jax.device_get(model_state), batch), jax.devices()[0])


def cost_of(function: Callable[..., Any], arguments: tuple[Any, ...], rows: int) -> Cost:
    """Compiles a function, runs it once, and counts its operations; loops that end when the data say so (suppressions) count
    once."""
    program = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    return Cost(program, arguments, rows, operations(program.as_text(), undecided=1) / rows / 1e9)


def detector_cost(name: str, task: Task, arguments: tuple[Any, ...], proposals: float, share: float = 1.0) -> DetectorCost:
    """Compiles a detector's prediction on one image (`on_one_device`), and the programs up to the end of each part."""
    parts = {**task.parts, "post-processing": task.predict}
    return DetectorCost(name, {part: cost_of(each, arguments, 1) for part, each in parts.items()}, proposals, share)


def proposal_seconds(images: Iterable[np.ndarray], spec: ProposalSpec | None) -> float:
    """Median seconds an image of proposals that are made ahead of a network; 0 for none."""
    if spec is None:
        return 0.0
    seconds = []
    for image in images:
        began = time.perf_counter()
        propose(image, spec)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def steps(costs: Sequence[DetectorCost]) -> list[str]:
    """One line for each but the first: how it compares with the one before it."""
    return [
        f"- {each.name} after {before.name}: {before.seconds / each.seconds:.3g} times as fast with proposals, "
        f"{before.network_seconds / each.network_seconds:.3g} times without those that are made ahead; "
        f"{before.gflops / each.gflops:.3g} times fewer operations"
        for before, each in itertools.pairwise(costs)
    ]
