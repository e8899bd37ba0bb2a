"""What predictions cost: operations, and seconds measured in turns with other networks."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from cnnvision.data.wrappers.proposals import propose
from cnnvision.inputs import ProposalSpec
from cnnvision.programs.compiling import needs_of
from cnnvision.task import Task

AHEAD, LAST = "proposals", "post-processing"
"""Parts that are not in `Task.parts`: proposals made ahead of the network, and what `predict` does after the others, where
no part has a name for it."""


@dataclasses.dataclass
class Program:
    """A compiled program for one image, its arguments, and how long it took.

    Attributes:
        run, arguments: what is run.
        gflops: a suppression counts as one round.
        memory: MiB of its arguments, results and temporaries, as the compiler planned them.
        compile_seconds: from the traced function to the program, without a cache.
        seconds: each time it was measured.
    """

    run: Any
    arguments: tuple[Any, ...]
    gflops: float
    memory: float = 0.0
    compile_seconds: float = 0.0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def measure(self) -> None:
        """Runs it once."""
        began = time.perf_counter()
        jax.block_until_ready(self.run(*self.arguments))
        self.seconds.append(time.perf_counter() - began)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


@dataclasses.dataclass
class Cost:
    """What one image costs a network, and where.

    Attributes:
        name: in the table.
        programs: name of a part -> the program up to its end; the last is the whole prediction.
        proposals: seconds an image of proposals that are made ahead of the network; 0 where it makes its own, or has none.
        times: how often the programs run for one image: once for each tile, or for each share of its proposals; a share of 1
            where several images go through them together.
    """

    name: str
    programs: dict[str, Program]
    proposals: float = 0.0
    times: float = 1.0

    def measure(self) -> None:
        """Runs each program once."""
        for program in self.programs.values():
            program.measure()

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in order; of a network that tells none, the proposals at most."""
        return [AHEAD] * bool(self.proposals) + list(self.programs) * (len(self.programs) > 1)

    @property
    def split(self) -> dict[str, float]:
        """Seconds of each part: the program that stops after it minus the one that stops before it; parts of 0 are left out.

        They add up to the whole: no program that stops early counts for more than it.
        """
        seconds, before = {AHEAD: self.proposals}, 0.0
        for name, program in self.programs.items():
            until = min(max(program.median * self.times, before), self.network_seconds)
            seconds[name] = seconds.get(name, 0.0) + until - before
            before = until
        return {name: seconds[name] for name in self.parts if seconds[name]}

    @property
    def seconds(self) -> float:
        """In all."""
        return self.proposals + self.network_seconds

    @property
    def network_seconds(self) -> float:
        """Without proposals that are made ahead of the network."""
        return self.whole.median * self.times

    @property
    def rounds(self) -> list[float]:
        """Seconds in all, of each time that the programs were measured."""
        return [self.proposals + seconds * self.times for seconds in self.whole.seconds]

    @property
    def gflops(self) -> float:
        """On the network's side."""
        return self.whole.gflops * self.times

    @property
    def whole(self) -> Program:
        """The program of the whole prediction."""
        return list(self.programs.values())[-1]


def parts_of(costs: Iterable[Cost]) -> list[str]:
    """The parts that any of several networks has, in the order in which they occur; after post-processing come those alone
    that come after it in a network."""
    names = [each.parts for each in costs]
    after = {part for parts in names if LAST in parts for part in parts[parts.index(LAST) + 1 :]}
    return sorted(dict.fromkeys(itertools.chain(*names)), key=lambda part: (part in after, part == LAST))


def on_one_device(params: Any, model_state: Any, batch: Any, rows: int = 1) -> tuple[Any, Any, Any]:
    """The arguments of a prediction on the first row of a batch, repeated as often as wanted, all on the first device."""
    batch = jax.tree.map(lambda x: np.repeat(x[:1], rows, axis=0), batch.replace(target=None))
    return jax.device_put((jax.device_get(params), jax.device_get(model_state), batch), jax.devices()[0])


def compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Program:
    """Compiles a function, runs it once, and counts its operations; loops that end when the data say so (suppressions) count
    once."""
    program, needs = needs_of(jax.jit(function).lower(*arguments))
    jax.block_until_ready(program(*arguments))
    return Program(program, arguments, needs.flops / 1e9, needs.memory / 2**20, needs.compile_seconds)


def cost_of(name: str, task: Task, arguments: tuple[Any, ...], proposals: float = 0.0, times: float = 1.0) -> Cost:
    """Compiles a task's prediction on one image (`on_one_device`), and the programs up to the end of each of its parts."""
    parts = task.parts if task.predict in task.parts.values() else {**task.parts, LAST: task.predict}
    return Cost(name, {part: compiled(function, arguments) for part, function in parts.items()}, proposals, times)


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


def steps(costs: Sequence[Cost]) -> list[str]:
    """One line for each but the first: how it compares with the one before it."""
    lines = []
    for before, each in itertools.pairwise(costs):
        parts = [times(before.seconds / each.seconds, "as fast", "slower")]
        if before.proposals or each.proposals:
            alone = times(before.network_seconds / each.network_seconds, "as fast", "slower")
            parts = [f"{parts[0]} with proposals", f"{alone} without those that are made ahead"]
        operations = times(before.gflops / each.gflops, "fewer operations", "more operations")
        lines.append(f"- {each.name} after {before.name}: {', '.join(parts)}; {operations}")
    return lines


def times(ratio: float, more: str, less: str) -> str:
    """ "4.2 times as fast", and "2 times slower" for a ratio of .5."""
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that covers the median of what the values were drawn from in at least 95 of 100 cases: from the k-th least
    to the k-th greatest, with the largest k of which a fair coin allows it. NaN where the values are too few (five or less).
    """
    ordered, rank, outside = sorted(values), 0, 0.5 ** len(values)
    while outside <= 0.025:
        rank += 1
        outside += math.comb(len(values), rank) * 0.5 ** len(values)
    return (ordered[rank - 1], ordered[-rank]) if rank else (math.nan, math.nan)


def speed_orders(costs: Sequence[Cost]) -> list[str]:
    """One line for each pair: which is faster, if the interval of the differences within the same round excludes 0."""
    lines = []
    for first, second in itertools.combinations(costs, 2):
        differences = [(b - a) * 1e3 for a, b in zip(first.rounds, second.rounds, strict=True)]
        if statistics.median(differences) < 0:
            first, second, differences = second, first, [-each for each in differences]
        low, high = median_interval(differences)
        said = f"{first.name} faster than {second.name}" if low > 0 else f"{first.name} and {second.name}: no order"
        lines.append(f"- ms an image: {said} ({statistics.median(differences):.3g}, 95 % {low:.3g} … {high:.3g})")
    return lines
