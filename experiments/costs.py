"""What a compiled program costs: operations, and seconds measured in turns with others."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from cnnvision.training.program_text import operations


@dataclasses.dataclass
class Cost:
    """A compiled program, its arguments, and how long it took.

    Attributes:
        program, arguments: what is run.
        rows: images in the arguments.
        gflops: of one image; a suppression counts as one round.
        seconds: of one image, each time it was measured.
    """

    program: Any
    arguments: tuple[Any, ...]
    rows: int
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
