"""How the processes of one run find each other, and how one that cannot go on ends.

Where a process never comes, JAX alone ends the others with a stack of calls, and names nobody.
"""

import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import jax

from cnnvision.errors import TRY_AGAIN, OtherProcessError, RunError, listed
from cnnvision.training.stopping import another_is_gone

TO_SPEAK = 3
"""Seconds that process 0, without which JAX ends the others, leaves them for their last words."""

GO = "go"
"""What process 0 answers when all are there."""


def come_together(address: str | None, count: int | None, index: int | None, patience: int) -> None:
    """Joins the other processes of a run. They wait for each other for twice `patience`.

    Args:
        address: HOST:PORT of process 0; None where the machines tell it, the count and the index.
        count, index: of how many processes this one is which, from 0.
        patience: seconds without a sign of life after which JAX counts a process as gone, and ends the others.

    Raises:
        OtherProcessError: a process did not come; the message names it.
        RunError: address, count and index do not go together.
    """
    if address is not None:
        meet(address, count, index, 2 * patience)
    with _ends_after(2 * patience, "not all processes of this run are there. Start the command on every host."):
        times = dict(initialization_timeout=3 * patience, heartbeat_timeout_seconds=patience)
        jax.distributed.initialize(address, count, index, **times)


def meet(address: str, count: int, index: int, seconds: float) -> None:
    """Waits until all are there: process 0 hears the others at the address, before JAX does. As `come_together`."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        raise RunError(f"--coordinator={address}: give HOST:PORT of process 0")
    if not 0 <= index < count:
        raise RunError(f"--process={index}: of {count} processes, the first is 0 and the last {count - 1}")
    if index == 0:
        answer = _hear(address, int(port), count, seconds)
    else:
        answer = _call((host.strip("[]"), int(port)), f"{index} of {count}", seconds)
    if answer is None:
        answer = (
            f"process 0 of {count} does not answer at {address} after {seconds:.0f} s. Is it started, and the address its?"
        )
    if answer != GO:
        raise OtherProcessError(answer)


def _hear(address: str, port: int, count: int, seconds: float) -> str:
    """Process 0: what it answers to those that called."""
    end, calls, answer = time.monotonic() + seconds, {}, ""
    with contextlib.ExitStack() as opened:
        both = socket.has_dualstack_ipv6()
        try:
            family = socket.AF_INET6 if both else socket.AF_INET
            server = opened.enter_context(socket.create_server(("", port), family=family, dualstack_ipv6=both))
        except OSError as error:
            raise RunError(
                f"--coordinator={address}: process 0 cannot listen there: {error.strerror}. Take another port."
            ) from error
        while len(calls) < count - 1 and not answer and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(OSError):  # of a call that breaks off; its process calls again
                server.settimeout(left)
                call = opened.enter_context(server.accept()[0])
                call.settimeout(5)
                said = call.makefile().readline(100).strip()
                if caller := re.fullmatch(r"(\d+) of (\d+)", said):  # others are strangers
                    calls[int(caller[1])] = call
                    if int(caller[2]) != count:
                        answer = (
                            f"process {said} was started for a run of which process 0 is of {count}: --processes differs"
                        )
        if missing := [f"{index}" for index in range(1, count) if index not in calls]:
            many = "es" if len(missing) > 1 else ""
            answer = answer or (
                f"process{many} {listed(missing)} of {count} did not come within {seconds:.0f} s. Look at what is printed "
                f"there, and whether {address} can be reached from there."
            )
        for call in calls.values():
            with contextlib.suppress(OSError):
                call.sendall(f"{answer or GO}\n".encode())
    return answer or GO


def _call(place: tuple[str, int], me: str, seconds: float) -> str | None:
    """Another process: what process 0 answers; None where it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(place, timeout=5) as call:
            call.sendall(f"{me}\n".encode())
            call.settimeout(seconds + 5)  # process 0 may have begun to wait only now
            if answer := call.makefile().readline().strip():
                return answer
        time.sleep(0.2)
    return None


@contextlib.contextmanager
def _ends_after(seconds: float, message: str) -> Iterator[None]:
    """Ends the process, in a line, where what stands in it takes longer."""

    def end_now():
        print(f"error: after {seconds:.0f} s, {message}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN)

    timer = threading.Timer(seconds, end_now)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def explained(error: BaseException) -> BaseException:
    """An error of one of several processes; where it comes of another one's end, one that says so."""
    if not another_is_gone(error):
        return error
    peer = re.search(r"\[([\w.:]+)\]:\d+", str(error))
    where = f", on {peer[1]}," if peer else ""
    cure = "Its own output says why; the same command on every host goes on from the last checkpoint."
    return OtherProcessError(f"another process of this run{where} is gone. {cure}")


def end(code: int) -> NoReturn:
    """Ends this process of several at once. An orderly end would wait for the others, and they, in a step, for this one."""
    if jax.process_index() == 0:
        time.sleep(TO_SPEAK)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
