"""Rehearses a run on many hosts with processes of this machine, before the hosts cost money.

    python -m experiments.rehearse --config=configs/NAME.py:smoke [--processes=4] [--devices=4] [--workdir=DIR]

Starts the command that each host would be given, with as many simulated devices (CPUs) each; keys of the config are set with
--config.KEY=VALUE, as there. After some steps one process is killed (SIGKILL): the others must end, in time and with a word.
All are started again: they must go on from the last checkpoint and end well. What is rehearsed is the config as it is, with
STEPS steps, or as many as it takes to meet each size that it declares; a smoke variant takes a minute or two, a real one as
long as its steps take on this machine. With --workdir in a bucket (gs://…), the rights to it are rehearsed, too.

Ends with a table, and with exit code 1 where something was not as it should be: which process, why, and what mends it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cnnvision.errors import TRY_AGAIN, listed

from .command_line import Parser, folder, main

STEPS, SAVED = 8, 2
"""Training steps, and how many lie between two checkpoints."""

KILLED_AFTER = 3
"""Logged steps after which a process is killed."""

PATIENCE = 30
"""Seconds after which processes count one that gives no sign of life as gone: their --patience."""

SLACK = 15.0
"""Seconds that an end may take beyond that."""

TERMINATES = "Terminating process because the JAX distributed service detected fatal errors"
"""What JAX's runtime says, before a stack of calls, of a process that waits for one that is gone."""

ENDED_BY_JAX = "JAX ended it, as another process gives no sign of life"
"""The same in short."""


class Fault(Exception):
    """What was not as it should be; said in the table."""


class Processes:
    """The processes of one start, each with its output in a file.

    Args:
        command: of all of them.
        count: how many.
        devices: of each.
        logs: a folder.
        flags: of single processes beside the command: index -> flags.
        environment: of single processes, beside that of this one: index -> variables.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        devices: int,
        logs: str,
        flags: Mapping[int, Sequence[str]],
        environment: Mapping[int, Mapping[str, str]],
    ):
        with socket.socket() as found:
            found.bind(("localhost", 0))
            address = f"localhost:{found.getsockname()[1]}"
        shared = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
        self.logs = [os.path.join(logs, f"process_{index}.txt") for index in range(count)]
        self.started = []
        for index, log in enumerate(self.logs):
            together = [f"--coordinator={address}", f"--processes={count}", f"--process={index}", f"--patience={PATIENCE}"]
            with open(log, "w") as output:
                self.started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", *command, *together, *flags.get(index, [])],
                        env={**shared, **environment.get(index, {})},
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def codes(self) -> list[int | None]:
        """Exit codes; None of what runs."""
        return [process.poll() for process in self.started]

    def wait(self, seconds: float) -> bool:
        """Whether all ended within so many seconds."""
        end = time.monotonic() + seconds
        while None in self.codes():
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def last_line(self, index: int) -> str:
        """A process's word of its end: its last error, else that JAX ended it, else its last line."""
        with open(self.logs[index]) as file:
            lines = [line.strip() for line in file if line.strip() and not line.startswith("[Gloo]")]
        said = [line for line in lines if line.startswith(("error:", "config error:"))]
        gone = [ENDED_BY_JAX for line in lines if TERMINATES in line]
        return (said or gone or lines or ["nothing"])[-1]

    def last_lines(self) -> str:
        """The word of each."""
        return "; ".join(f"process {index} said last: {self.last_line(index)}" for index in range(len(self.logs)))

    def end_of(self, index: int) -> tuple[int, str]:
        """How a process ended, after a number: 0 where it did so by itself, 1 where it has not, 2 for want of another."""
        code, said = self.started[index].poll(), self.last_line(index)
        if code is None:
            cure = "Look at what it waits for: its data, a disk, the network."
            return 1, f"hangs: it does not end, as others did. It said last: {said.rstrip('.')}. {cure}"
        if code == TRY_AGAIN or said == ENDED_BY_JAX:
            return 2, f"ended with {code}: {said}"
        if code < 0:
            cure = (
                " If nobody did that, the memory was full (see `dmesg`): take a smaller batch."
                if code == -signal.SIGKILL
                else ""
            )
            return 0, f"was killed ({signal.Signals(-code).name}). It said last: {said.rstrip('.')}.{cure}"
        return 0, f"ended with {code}: {said}"

    def what_happened(self) -> str:
        """Once one has ended: first who ended the run, then how the others, which get time for it, ended."""
        known = any(self.end_of(index)[0] == 0 for index in range(len(self.logs)))
        self.wait((2 * PATIENCE if known else PATIENCE / 2) + SLACK)
        ends: dict[tuple[int, str], list[str]] = {}
        for index in range(len(self.logs)):
            ends.setdefault(self.end_of(index), []).append(str(index))
        name = lambda which: f"process{'es' if len(which) > 1 else ''} {listed(which)}"
        return "; ".join(f"{name(which)} {text}" for (_, text), which in sorted(ends.items()))

    def end(self) -> None:
        """Kills what still runs."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def run(
    config: str,
    overrides: Sequence[tuple[str, str]] = (),
    processes: int = 4,
    devices: int = 4,
    workdir: str | None = None,
    flags: Mapping[int, Sequence[str]] | None = None,
    environment: Mapping[int, Mapping[str, str]] | None = None,
    limit: float = 1800.0,
    say: Callable[[str], None] = print,
) -> bool:
    """Rehearses; returns whether all was as it should be.

    Args:
        config: as `train` takes it.
        overrides: (dotted key without "config.", value).
        processes, devices: how many processes, and devices of each.
        workdir: of the run, which is new; by default a folder that is deleted at the end.
        flags, environment: of single processes, beside what all are given: index -> flags, and variables.
        limit: seconds that a start may take to its end.
        say: prints a line.
    """
    from .reports.tables import markdown

    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as place:
        workdir = workdir or os.path.join(place, "run")
        steps = steps_of(config, overrides)
        keys = {"training.steps": steps, "training.save_every": SAVED, "training.log_every": 1, "training.eval_every": steps}
        given = [f"--config.{key}={value}" for key, value in {**keys, **dict(overrides)}.items()]
        command = [*train_command(config), f"--workdir={workdir}", *given]
        try:
            for parts in (("start, steps", until_steps), ("one is killed", kill_one)), (("start again, end", to_the_end),):
                running = Processes(command, processes, devices, place, flags or {}, environment or {})
                try:
                    for name, part in parts:
                        began = time.monotonic()
                        took = lambda began=began: f"{time.monotonic() - began:.0f} s"
                        try:
                            rows.append((name, part(running, workdir, limit), took()))
                        except Fault as fault:
                            rows.append((name, f"FAULT: {fault}", took()))
                            raise
                finally:
                    running.end()
        except Fault:
            pass  # it is in the table
    say(markdown((f"{processes} processes of {devices} devices", "what happened", "after"), rows))
    return not any(found.startswith("FAULT") for _, found, _ in rows)


def train_command(config: str) -> list[str]:
    """What follows `python -m`."""
    return [f"{__package__}.train", f"--config={config}"]


def steps_of(config: str, overrides: Sequence[tuple[str, str]]) -> int:
    """STEPS, or as many more as meet each declared size."""
    from cnnvision.data.order import bucket
    from cnnvision.runs.configuration import load_config

    loaded = load_config(config, overrides)
    sizes, met, steps = 1 + len(loaded.data.more_sizes), set(), 0
    while len(met) < sizes or steps < STEPS:
        met.add(bucket(loaded.training.seed, steps, sizes))
        steps += 1
    return steps


def logged(workdir: str) -> list[dict[str, Any]]:
    """What the run has logged."""
    from cnnvision.storage import path_of

    path = path_of(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def until_steps(running: Processes, workdir: str, limit: float) -> str:
    """Waits until some steps are logged."""
    end = time.monotonic() + limit
    while len(steps := [each["step"] for each in logged(workdir)]) < KILLED_AFTER:
        if any(code is not None for code in running.codes()):
            raise Fault(running.what_happened())
        if time.monotonic() > end:
            raise Fault(f"no {KILLED_AFTER} steps within {limit:.0f} s; {running.last_lines()}")
        time.sleep(0.2)
    return f"{steps[-1]} steps"


def kill_one(running: Processes, workdir: str, limit: float) -> str:
    """Kills the last process, and waits for the others to end."""
    victim = len(running.started) - 1
    os.killpg(running.started[victim].pid, signal.SIGKILL)
    if not running.wait(PATIENCE + SLACK):
        still = [index for index, code in enumerate(running.codes()) if code is None]
        raise Fault(f"{PATIENCE + SLACK:.0f} s after process {victim} was killed, {still} still wait for it")
    if ended := [index for index, code in enumerate(running.codes()) if code == 0 and index != victim]:
        raise Fault(f"process {victim} was killed, and {ended} ended as if nothing had happened")
    return f"process {victim} was killed, the others ended: {running.last_line(0)}"


def to_the_end(running: Processes, workdir: str, limit: float) -> str:
    """Waits for all to end well, with all steps logged once."""
    end = time.monotonic() + limit
    while any(code != 0 for code in running.codes()):
        if any(running.codes()):
            raise Fault(running.what_happened())
        if time.monotonic() > end:
            raise Fault(f"not at its end within {limit:.0f} s; {running.last_lines()}")
        time.sleep(0.2)
    steps = [each["step"] for each in logged(workdir) if each["split"] == "train"]
    if steps != sorted({*steps}):
        raise Fault(f"the log has the steps {steps}")
    return f"all ended well, with the steps 1 to {steps[-1]} logged once each"


def command(arguments: list[str] | None = None) -> int:
    """Parses and rehearses."""
    parser = Parser("rehearse", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, and a variant")
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="as many as the run will have hosts")
    parser.add_argument("--devices", type=int, default=4, metavar="N", help="of each process")
    parser.add_argument(
        "--workdir", type=folder, metavar="DIR", help="a new run folder, local or gs://; a temporary one by default"
    )
    flags, overrides = parser.parse(arguments)
    return int(not run(flags.config, overrides, flags.processes, flags.devices, flags.workdir))


if __name__ == "__main__":
    main(command)
