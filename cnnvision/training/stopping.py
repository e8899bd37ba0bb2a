"""How a run notices that it is asked to stop, or that another of its processes is gone."""

import signal
import threading
from types import FrameType

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class StopRequest:
    """Notices SIGTERM (and SIGINT, once) while it is open; the second SIGINT interrupts as usual.

    One inside another tells that one, too: a run of several stops, and so does what would begin the next.

    Outside the main thread, where Python allows no handlers, it notices nothing.

    Attributes:
        name: of the signal that came, or "".
    """

    def __init__(self):
        self.name = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
        if isinstance(outer := getattr(self._before[number], "__self__", None), StopRequest):
            outer._notice(number, frame)


def stop_flags(stop: StopRequest, mesh: Mesh) -> jax.Array:
    """One bool a device: whether its process was asked to stop. The step reduces them, so that all processes agree."""
    layout = NamedSharding(mesh, PartitionSpec("data"))
    return jax.make_array_from_process_local_data(layout, np.full(len(mesh.local_devices), bool(stop.name)))


def another_is_gone(error: BaseException) -> bool:
    """Whether an error is that of a process of several whose connection to another one broke.

    So it is between CPUs. On GPUs and TPUs, JAX ends the process once the other one gives no sign of life.
    """
    return jax.process_count() > 1 and "Gloo" in str(error)
