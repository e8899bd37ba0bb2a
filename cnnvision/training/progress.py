"""What a run prints while it goes, and the figures behind it."""

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from cnnvision.training.step import CompiledOnce


def peak_memory_gib() -> float:
    """Most memory used so far, GiB: of the first local device where it keeps count, else of this process."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Stopwatch:
    """Splits the time of the loop into steps and waiting for input.

    Each window begins at `reset`. Time spent on evaluation, pictures and checkpoints is outside (`paused`).
    """

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Begins a new window."""
        self.began, self.waited, self.paused, self.steps = time.perf_counter(), 0.0, 0.0, 0

    def figures(self, batch_size: int) -> dict[str, float]:
        """`time/step` (seconds), `time/input_wait` (share of it), `time/examples_per_second` of this window."""
        seconds = max(time.perf_counter() - self.began - self.paused, 1e-9)
        step = seconds / max(self.steps, 1)
        return {
            "time/step": step,
            "time/input_wait": self.waited / seconds,
            "time/examples_per_second": batch_size / step,
        }


def timed(batches: Iterable[Any], watch: Stopwatch) -> Iterator[Any]:
    """The same batches; the time spent waiting for them goes to the watch. Closes the pipeline when left."""
    iterator = iter(batches)
    try:
        while True:
            began = time.perf_counter()
            try:
                loaded = next(iterator)
            except StopIteration:
                return
            watch.waited += time.perf_counter() - began
            yield loaded
    finally:
        close = getattr(iterator, "close", None)
        if close:
            close()


class InputFaults:
    """Counts what the training batches lack, and says it: each unreadable example once, full batches once."""

    def __init__(self):
        self.failed, self.dropped, self.said = 0, 0, set()

    def add(self, loaded: Any, say: Callable[[str], None]) -> None:
        """Takes what the pipeline loaded for a step. An example that cannot be read fails again in each epoch."""
        for problem in dict.fromkeys(loaded.failures):
            if problem not in self.said:
                self.said.add(problem)
                say(f"not used: {problem}")
        if loaded.dropped_objects and not self.dropped:
            say("objects are left out, and counted as objects_dropped: the smallest of an image that has more than a batch "
                "has room for (config.model.max_objects), or those of whose mask the input has no pixel")  # fmt: skip
        self.failed, self.dropped = self.failed + len(loaded.failures), self.dropped + loaded.dropped_objects

    def figures(self) -> dict[str, float]:
        """`examples_failed`, `objects_dropped` since the run, or its resumption, began."""
        return {"examples_failed": float(self.failed), "objects_dropped": float(self.dropped)}


def duration(seconds: float) -> str:
    """Seconds -> "1:23:45", "2:05" or "7 s"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def progress_line(step: int, steps: int, metrics: dict[str, float], figures: dict[str, float]) -> str:
    """One line a logged step: metrics first, then speed, what is left, and memory."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if not name.startswith("time/"))
    eta = duration((steps - step) * figures["time/step"])
    return (
        f"step {step}/{steps}  {shown}  |  {figures['time/step'] * 1e3:.0f} ms a step, "
        f"{figures['time/input_wait']:.0%} waiting for input, {figures['time/examples_per_second']:.0f} examples/s, "
        f"{eta} left, {peak_memory_gib():.1f} GiB"
    )


def memory_line(step_function: CompiledOnce) -> str:
    """What the step compiled last needs, as XLA planned it."""
    analysis = next(reversed(step_function.programs.values())).memory_analysis()
    if analysis is None:
        return "memory unknown"
    parts = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    return f"needs {parts / 2**30:.2f} GiB on each device"
