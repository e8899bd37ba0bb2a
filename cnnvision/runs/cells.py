"""Trains the cells of a grid (cnnvision/runs/grid.py): one after the other, or several at once, each on its own devices."""

import collections
import contextlib
import glob
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence

from cnnvision.data.sources import open_source
from cnnvision.errors import TRY_AGAIN, CnnvisionError, ConfigError, DataError, Stopped
from cnnvision.runs.grid import FAILED, Cell
from cnnvision.storage import explain, write_whole
from cnnvision.training.stopping import StopRequest

Say = Callable[[str], None]


def train_cells(cells: Sequence[Cell], at_once: int = 1, say: Say = print) -> None:
    """Trains what is not finished; a cell that fails is noted in its folder, and the others go on.

    Args:
        cells: in the order in which they are begun.
        at_once: how many are trained at the same time.
        say: prints a line.

    Raises:
        ConfigError: `at_once` is none of a number of this machine's devices.
        Stopped: it was asked to. What ran is saved.
    """
    if at_once < 1:
        raise ConfigError(f"--at-once={at_once}: at least 1")
    places = list(shares(at_once)) if at_once > 1 else []
    with StopRequest() as stop:
        waiting = collections.deque(cell for cell in cells if not cell.finished)
        if done := len(cells) - len(waiting):
            say(f"{done} of {len(cells)} runs are finished")
        if at_once > 1:
            _prepare_data(waiting)
            _at_once(waiting, places, stop, say)
        else:
            _in_turn(waiting, stop, say)
        if stop.name:
            raise Stopped(f"Asked to stop ({stop.name}): the same command goes on")


def _in_turn(waiting: collections.deque[Cell], stop: StopRequest, say: Say) -> None:
    from cnnvision.runs.agreement import join_together
    from cnnvision.training.loop import train

    while waiting and not stop.name:
        cell = waiting.popleft()
        say(f"— {cell.name}")
        (cell.folder / FAILED).unlink(missing_ok=True)
        try:
            metrics = train(join_together(cell.config, cell.folder, say=say))
        except Exception as error:  # of whatever kind: the other cells do not depend on it
            line = str(error) if isinstance(error, CnnvisionError) else explain(error)
            if line is None:
                traceback.print_exception(error)
                line = f"{type(error).__name__}: {error}"
            _failed(cell, line, say)
            continue
        if not metrics:
            raise Stopped(f"{cell.name}: stopped before its end; the same command goes on from there")


def _failed(cell: Cell, line: str, say: Say) -> None:
    say(f"{cell.name} failed: {line}")
    write_whole(cell.folder / FAILED, line + "\n")


def _prepare_data(cells: Iterable[Cell]) -> None:
    """Opens each data set once: one that is made at its first use is not made by several processes at a time."""
    for source, split in {(cell.config.data.source, cell.config.data.train_split) for cell in cells}:
        with contextlib.suppress(DataError):  # the cells themselves say what is wrong
            open_source(source, split)


def _at_once(waiting: collections.deque[Cell], places: list["Place"], stop: StopRequest, say: Say) -> None:
    lines: queue.Queue[tuple[Cell, str | None]] = queue.Queue()
    running: dict[str, tuple[Cell, subprocess.Popen, Place]] = {}
    last: dict[str, str] = {}
    try:
        while running or (waiting and not stop.name):
            while waiting and places and not stop.name:
                cell, place = waiting.popleft(), places.pop(0)
                (cell.folder / FAILED).unlink(missing_ok=True)
                running[cell.name] = cell, _start(cell, place, lines), place
                say(f"— {cell.name}, on {place.name}")
            try:
                cell, line = lines.get(timeout=0.5)
            except queue.Empty:
                if stop.name:
                    for _, process, _ in running.values():
                        process.terminate()
                continue
            if line is not None:
                say(f"{cell.name}: {line}")
                last[cell.name] = line
                continue
            _, process, place = running.pop(cell.name)
            places.append(place)
            with process:
                code, said = process.wait(), last.pop(cell.name, "it said nothing")
            if code == TRY_AGAIN:
                stop.name = stop.name or f"by {cell.name}, which was asked to"
            elif code and not (stop.name and code < 0):
                _failed(cell, f"ended with {code}: {said.removeprefix('error: ')}", say)
    finally:
        for _, process, _ in running.values():
            with process:
                process.kill()


def _start(cell: Cell, place: "Place", lines: queue.Queue) -> subprocess.Popen:
    """Begins a cell in a process of its own, of which each line, and None at its end, comes into `lines`."""
    command = [sys.executable, "-m", "cnnvision.runs.attached", "train", *cell.flags]
    before = os.sched_getaffinity(0) if place.cores else None
    if place.cores:
        os.sched_setaffinity(0, place.cores)  # of this thread, which the process inherits
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **place.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    finally:
        if before:
            os.sched_setaffinity(0, before)

    def pass_on() -> None:
        for line in process.stdout:
            if line.strip() and not line.startswith("|"):  # its table of metrics: one of the whole grid comes at the end
                lines.put((cell, line.rstrip()))
        lines.put((cell, None))

    threading.Thread(target=pass_on, daemon=True).start()
    return process


class Place:
    """Devices of this machine that one process has for itself.

    Attributes:
        name: for the reader.
        variables: of the environment, by which it sees no others.
        cores: that it may run on; none for all.
    """

    def __init__(self, name: str, variables: Mapping[str, str], cores: Iterable[int] = ()):
        self.name, self.variables, self.cores = name, variables, frozenset(cores)


TPU_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1"}
"""Chips of a process -> how they lie to each other on a host of 2×2 or 2×4 (Cloud TPU's documentation, "Run multiple
processes on a TPU VM")."""


def shares(count: int, environment: Mapping[str, str] = os.environ, files: Callable = glob.glob) -> list[Place]:
    """This machine's devices in `count` equal shares: GPUs, else chips of a TPU, else cores.

    Args:
        count: of processes.
        environment: where variables say which devices may be used.
        files: matches of a pattern, for the devices that there are.

    Raises:
        ConfigError: there are not as many.
    """
    platforms = environment.get("JAX_PLATFORMS", "")
    visible = [each for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    gpus = visible or [name.removeprefix("/dev/nvidia") for name in sorted(files("/dev/nvidia[0-9]*"))]
    if gpus and (not platforms or "cuda" in platforms or "gpu" in platforms):
        parts = [",".join(part) for part in _parts(gpus, count, "GPU")]
        return [Place(f"GPU {part}", {"CUDA_VISIBLE_DEVICES": part}) for part in parts]
    chips = [str(index) for index in range(len(files("/dev/accel[0-9]*") or files("/dev/vfio/[0-9]*")))]
    if chips and (not platforms or "tpu" in platforms):
        return [_chips(part, index) for index, part in enumerate(_parts(chips, count, "TPU chip"))]
    if not hasattr(os, "sched_getaffinity"):
        raise ConfigError("--at-once: this system cannot give each process cores of its own; leave it out")
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    return [Place(f"core {','.join(part)}", {}, map(int, part)) for part in _parts(cores, count, "core")]


def _parts(devices: list[str], count: int, what: str) -> list[list[str]]:
    if count > len(devices):
        raise ConfigError(f"--at-once={count}: this machine has {len(devices)} {what}{'s' if len(devices) > 1 else ''}")
    each = len(devices) // count
    return [devices[index * each : (index + 1) * each] for index in range(count)]


def _chips(part: list[str], index: int) -> Place:
    most = max(size for size in TPU_BOUNDS if size <= len(part))
    variables = {
        "TPU_VISIBLE_CHIPS": ",".join(part[:most]),
        "TPU_CHIPS_PER_PROCESS_BOUNDS": TPU_BOUNDS[most],
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{8476 + index}",
        "TPU_MESH_CONTROLLER_PORT": str(8476 + index),
    }
    return Place(f"TPU chip {variables['TPU_VISIBLE_CHIPS']}", variables)
