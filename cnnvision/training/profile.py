"""A trace of some training steps, for TensorBoard's profiler and xprof; and how much of a chip's arithmetic a step uses."""

import functools
import pathlib
import tempfile
from typing import Any

import jax
from etils import epath

from cnnvision.programs.chips import of_device, product_type
from cnnvision.programs.text import operations
from cnnvision.storage import is_remote, write_whole
from cnnvision.training.step import CompiledOnce


class Profile:
    """Writes `profile/` into a run folder, on every process; operations have the names of the model's modules.

    Args:
        folder: local or remote.
        steps: (first, last) of the traced steps, from 1 on; () for none.
    """

    def __init__(self, folder: epath.Path, steps: tuple[int, ...]):
        self.folder, self.steps, self._begun, self._place = folder, steps, False, None

    def before(self, step: int, state: Any) -> None:
        """Called before each step is computed, `step` is its number; begins the trace before the first."""
        if self.steps and step == self.steps[0]:
            jax.block_until_ready(state)
            self._place = tempfile.TemporaryDirectory() if is_remote(self.folder) else None
            jax.profiler.start_trace(self._place.name if self._place else str(self.folder))
            self._begun = True

    def after(self, step: int, state: Any) -> str:
        """Called after each step; ends the trace after the last, and says where it is, else "" ."""
        if not self._begun or step != self.steps[1]:  # a run that goes on from a step between the two has no trace
            return ""
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        if self._place:
            root = pathlib.Path(self._place.name)
            for file in filter(pathlib.Path.is_file, root.rglob("*")):
                write_whole(self.folder / file.relative_to(root).as_posix(), file.read_bytes())
            self._place.cleanup()
        return f"steps {self.steps[0]} to {self.steps[1]} are traced in {self.folder}: tensorboard --logdir={self.folder}"


def utilisation(step_function: CompiledOnce, seconds: float, config: Any) -> dict[str, float]:
    """`time/flop_utilisation`: the share of a chip's arithmetic that the step compiled last makes use of; nothing for chips
    whose peak is not known. Loops that end when the data say so count once.

    Args:
        step_function: the training step.
        seconds: of a step.
        config: of the run.
    """
    chip = of_device(jax.devices()[0].device_kind)
    if chip is None:
        return {}
    flops = _flops_of(next(reversed(step_function.programs.values())))
    return {"time/flop_utilisation": flops / seconds / chip.flops[product_type(config, chip.name)]}


@functools.lru_cache(maxsize=1)
def _flops_of(program: Any) -> float:
    """Operations of a compiled program, which is read once, not at each logged step."""
    return operations(program.as_text(), undecided=1)
