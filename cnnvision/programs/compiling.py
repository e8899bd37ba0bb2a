"""Compiles a program, and says what it needs: seconds, memory, operations, traffic."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from cnnvision.programs.text import memory_traffic, operations
from cnnvision.programs.traffic import Collective, collectives


@dataclasses.dataclass(frozen=True)
class Needs:
    """What one run of a compiled program needs on each device.

    Attributes:
        compile_seconds: from the traced function to the program, without a cache.
        arguments, temporaries, results: bytes of memory, as the compiler planned them; results without those that take an
            argument's place.
        flops: operations.
        traffic: bytes between the device and its memory.
        collectives: what moves between devices.
    """

    compile_seconds: float
    arguments: int
    temporaries: int
    results: int
    flops: float
    traffic: float
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """Bytes at the same time, at most."""
        return self.arguments + self.temporaries + self.results

    @property
    def crossing(self) -> int:
        """Bytes that a device gives to the others."""
        return sum(each.bytes for each in self.collectives)


def needs_of(lowered: Any) -> tuple[Any, Needs]:
    """The compiled program of a lowered one, and what it needs. Loops that end when the data say so count once."""
    with without_cache():
        began = time.perf_counter()
        program = lowered.compile()
        seconds = time.perf_counter() - began
    plan, text = program.memory_analysis(), program.as_text()
    results = max(plan.output_size_in_bytes - plan.alias_size_in_bytes, 0) if plan else 0  # None where nobody plans
    return program, Needs(
        seconds,
        plan.argument_size_in_bytes if plan else 0,
        plan.temp_size_in_bytes if plan else 0,
        results,
        operations(text, undecided=1),
        memory_traffic(text, undecided=1),
        tuple(collectives(text)),
    )


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Programs are compiled, not read from the compilation cache. (JAX reads its setting once, until the cache is reset.)"""
    before = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
