"""Rehearses a run on many hosts with processes of this machine, before the hosts cost money.

    python -m experiments.rehearse --config=configs/NAME.py:smoke [--processes=4] [--devices=4] [--workdir=DIR]

Starts the command that each host would be given, with as many simulated devices (CPUs) each; keys of the config are set with
--config.KEY=VALUE, as there. After some steps one process is killed (SIGKILL): the others must end, in time and with a word.
All are started again: they must go on from the last checkpoint and end well. What is rehearsed is the config as it is, with
STEPS steps; a smoke variant takes a minute or two, a real one as long as its steps take on this machine. With --workdir in a
bucket (gs://…), the rights to it are rehearsed, too.

Ends with a table, and with exit code 1 where something was not as it should be.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from .command_line import Parser, folder, main

STEPS, SAVED = 8, 2
"""Training steps, and how many lie between two checkpoints."""

KILLED_AFTER = 3
"""Logged steps after which a process is killed."""

PATIENCE = 90.0
"""Seconds within which the other processes must end once one was killed."""


TERMINATES = "Terminating process because the JAX distributed service detected fatal errors"
"""What JAX's runtime says, before a stack of calls, of a process that waits for one that is gone."""


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
    """

    def __init__(self, command: Sequence[str], count: int, devices: int, logs: str, flags: dict[int, list[str]]):
        with socket.socket() as found:
            found.bind(("localhost", 0))
            address = f"localhost:{found.getsockname()[1]}"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
        self.logs = [os.path.join(logs, f"process_{index}.txt") for index in range(count)]
        self.started = []
        for index, log in enumerate(self.logs):
            together = [f"--coordinator={address}", f"--processes={count}", f"--process={index}"]
            with open(log, "w") as output:
                self.started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", *command, *together, *flags.get(index, [])],
                        env=environment,
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
        """A process's word of its end: its last error, else JAX's that another process is gone, else its last line."""
        with open(self.logs[index]) as file:
            lines = [line.strip() for line in file if line.strip()]
        said = [line for line in lines if line.startswith(("error:", "config error:"))]
        gone = [line[line.index(TERMINATES) :] for line in lines if TERMINATES in line]
        return (said or gone or lines or ["nothing"])[-1]

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
    flags: dict[int, list[str]] | None = None,
    limit: float = 1800.0,
    say: Callable[[str], None] = print,
) -> bool:
    """Rehearses; returns whether all was as it should be.

    Args:
        config: as `train` takes it.
        overrides: (dotted key without "config.", value).
        processes, devices: how many processes, and devices of each.
        workdir: of the run, which is new; by default a folder that is deleted at the end.
        flags: of single processes.
        limit: seconds that a start may take to its end.
        say: prints a line.
    """
    from .reports.tables import markdown

    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as place:
        workdir = workdir or os.path.join(place, "run")
        keys = {"training.steps": STEPS, "training.save_every": SAVED, "training.log_every": 1, "training.eval_every": STEPS}
        given = [f"--config.{key}={value}" for key, value in {**keys, **dict(overrides)}.items()]
        command = [*train_command(config), f"--workdir={workdir}", *given]
        try:
            for parts in (("start, steps", until_steps), ("one is killed", kill_one)), (("start again, end", to_the_end),):
                running = Processes(command, processes, devices, place, flags or {})
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
        for index, code in enumerate(running.codes()):
            if code is not None:
                running.wait(PATIENCE)
                raise Fault(f"process {index} ended with {code}: {running.last_line(index)}")
        if time.monotonic() > end:
            raise Fault(f"no {KILLED_AFTER} steps within {limit:.0f} s; process 0 said last: {running.last_line(0)}")
        time.sleep(0.2)
    return f"{steps[-1]} steps"


def kill_one(running: Processes, workdir: str, limit: float) -> str:
    """Kills the last process, and waits for the others to end."""
    victim = len(running.started) - 1
    os.killpg(running.started[victim].pid, signal.SIGKILL)
    if not running.wait(PATIENCE):
        still = [index for index, code in enumerate(running.codes()) if code is None]
        raise Fault(f"{PATIENCE:.0f} s after process {victim} was killed, {still} still wait for it")
    if ended := [index for index, code in enumerate(running.codes()) if code == 0 and index != victim]:
        raise Fault(f"process {victim} was killed, and {ended} ended as if nothing had happened")
    return f"process {victim} was killed, the others ended: {running.last_line(0)[:100]}"


def to_the_end(running: Processes, workdir: str, limit: float) -> str:
    """Waits for all to end well, with all steps logged once."""
    if not running.wait(limit):
        raise Fault(f"not at its end within {limit:.0f} s; process 0 said last: {running.last_line(0)}")
    for index, code in enumerate(running.codes()):
        if code:
            raise Fault(f"process {index} ended with {code}: {running.last_line(index)}")
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
