"""What a run prints while it goes, and the figures behind it."""

import resource
import time

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
