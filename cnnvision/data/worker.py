"""What a worker process of the pipeline needs so that it starts anywhere, and is gone when it is not wanted any more.

Grain starts workers with multiprocessing's "spawn" method, which runs the main module again in each of them. For loading
that is never needed (what is sent to a worker names its modules, and definitions of the main module travel by value), it
costs a second or more a worker, and in a script without ``if __name__ == "__main__"`` the worker would try to start workers
of its own and die. So the main module is kept out of sight while they start.
"""

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TypeVar

import jax
import numpy as np
from absl import flags
from grain.multiprocessing import SharedMemoryArray

from cnnvision.errors import DataError

T = TypeVar("T")


class WorkerStart:
    """Called in each worker before it loads anything."""

    def __call__(self, index: int, count: int) -> None:
        parse_flags()
        jax.config.update("jax_platforms", "cpu")  # the accelerator belongs to the parent
        # Ctrl-C and a preemption notice reach all processes of a group; it is for the parent to act on them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=_leave_with_parent, name="leave-with-parent", daemon=True).start()


def parse_flags() -> None:
    """Grain reads absl flags, which raise before a command line was parsed; a notebook, a test or a worker parses none."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _leave_with_parent() -> None:
    """Ends this process when the parent has ended, even if it was killed and could tell nobody."""
    multiprocessing.parent_process().join()
    os._exit(1)


def from_workers(batches: Iterator[T], workers: int) -> Iterator[T]:
    """The elements (pytrees) of an iterator that Grain feeds from worker processes, as arrays of this process.

    Grain starts the i-th worker no later than the i-th element is asked for. So that many elements are fetched at first,
    with the main module out of sight; they are being loaded at the same time, by one worker each.

    Raises:
        DataError: a worker died.
    """
    copies = map(_copy, batches)
    try:
        with _hidden_main():
            first = list(itertools.islice(copies, workers))
        yield from first
        yield from copies
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise DataError(
            f"a worker process of the input pipeline died ({error}). Most likely memory ran out, or the shared memory in"
            " /dev/shm through which batches travel (a container has 64 MB unless it is given more: --shm-size). Take fewer"
            " config.data.workers, or 0 for threads alone."
        ) from error


def release_shared_memory() -> None:
    """Gives back the shared memory that arrays came in, and waits until that is done.

    What is still there when the interpreter exits would leak, with a warning for each array. The exception that ended
    Grain's iterator holds the last ones in a cycle, which is collected here. Others are given back by a thread of Grain's,
    one after the other: so one more array is sent the same way, and followed.
    """
    gc.collect()
    last = SharedMemoryArray((1,), np.uint8)
    last.unlink_on_del()
    memory, deadline = weakref.ref(last.shm), time.monotonic() + 5.0
    del last
    while memory() is not None and time.monotonic() < deadline:
        time.sleep(0.005)


def _copy(element: T) -> T:
    """Arrays arrive in shared memory, which lives until its last view is collected: one that somebody still holds when the
    interpreter exits would leak it. So they are copied at once.
    """
    return jax.tree.map(lambda leaf: np.array(leaf, subok=False) if isinstance(leaf, np.ndarray) else leaf, element)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """multiprocessing looks for the main module's `__spec__` and `__file__` when it tells a new process what to run."""
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.pop("__spec__")
        main.__dict__.update(hidden)
