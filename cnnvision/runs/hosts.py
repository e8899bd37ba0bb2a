"""How the processes of one run find each other, and how one that cannot go on ends.

Where a process never comes, JAX alone ends the others with a stack of calls, and names nobody.
"""

import contextlib
import os
import re
import secrets
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
        try:
            jax.distributed.initialize(address, count, index, **times)
        except ValueError as error:
            raise RunError(
                f"--distributed: nothing here tells the hosts of each other ({str(error).splitlines()[0]}). Give "
                "--coordinator=HOST:PORT, --processes=N and --process=I in its place."
            ) from error


def meet(address: str, count: int, index: int, seconds: float) -> None:
    """Waits until all are there: process 0 hears the others at the address, before JAX does. As `come_together`."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise RunError(f"--coordinator={address}: give HOST:PORT of process 0, the port below 65536")
    if count < 1:
        raise RunError(f"--processes={count}: at least 1")
    if not 0 <= index < count:
        raise RunError(f"--process={index}: of {count} processes, the first is 0 and the last {count - 1}")
    if index == 0:
        answer = _hear(address, int(port), count, seconds)
    else:
        answer = _call((host.strip("[]"), int(port)), f"{index} of {count} {secrets.token_hex(8)}", seconds)
    if answer is None:
        answer = (
            f"process 0 of {count} does not answer at {address} after {seconds:.0f} s. Is it started, and the address its?"
        )
    if answer != GO:
        raise OtherProcessError(answer)


def _hear(address: str, port: int, count: int, seconds: float) -> str:
    """Process 0: what it answers to those that called."""
    end, calls, tokens, answers = time.monotonic() + seconds, [], {}, []
    changed = threading.Condition()

    def listen(call: socket.socket) -> None:
        with contextlib.suppress(OSError):  # of a call that breaks off; its process calls again
            call.settimeout(max(end - time.monotonic(), TO_SPEAK))
            said = call.makefile().readline(100).strip()
            if not (caller := re.fullmatch(r"(\d+) of (\d+) (\w+)", said)):
                return  # a stranger
            with changed:
                index, of, token = int(caller[1]), int(caller[2]), caller[3]
                late, fault = bool(answers), ""
                if of != count:
                    fault = f"process {index} was started as one of {of}, process 0 as one of {count}: --processes differs"
                elif tokens.setdefault(index, token) != token:
                    fault = f"two processes were started as --process={index}"
                if late:
                    call.sendall(f"{fault or answers[0]}\n".encode())
                else:
                    answers.extend([fault] if fault else [])
                    calls.append(call)
                    changed.notify()

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # once it is closed
            while True:
                threading.Thread(target=listen, args=(server.accept()[0],), daemon=True).start()

    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise RunError(
            f"--coordinator={address}: process 0 cannot listen there: {error.strerror}. Take another port."
        ) from error
    threading.Thread(target=accept, args=(server,), daemon=True).start()
    with changed:
        changed.wait_for(lambda: len(tokens) == count - 1 or answers, seconds)
        if not answers:
            missing = [f"{index}" for index in range(1, count) if index not in tokens]
            many = "es" if len(missing) > 1 else ""
            answers.append(
                f"process{many} {listed(missing)} of {count} did not come within {seconds:.0f} s. Look at what is printed "
                f"there, and whether {address} can be reached from there."
                if missing
                else GO
            )
        for call in calls:
            with contextlib.suppress(OSError):
                call.sendall(f"{answers[0]}\n".encode())
    if answers[0] != GO:
        time.sleep(TO_SPEAK)  # others may be about to call
    # An accept that waits would keep the port.
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    for call in calls:
        call.close()
    return answers[0]


def _call(place: tuple[str, int], me: str, seconds: float) -> str | None:
    """Another process: what process 0 answers; None where it does not.

    Raises:
        RunError: nobody knew the host when the time was over.
    """
    end, unknown = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            with socket.create_connection(place, timeout=5) as call:
                call.sendall(f"{me}\n".encode())
                call.settimeout(seconds + TO_SPEAK)  # process 0 may have begun to wait only now
                if answer := call.makefile().readline().strip():
                    return answer
        except socket.gaierror as error:
            unknown = error  # names of new hosts take a while to be known
        except OSError:
            pass  # not there yet
        time.sleep(0.2)
    if unknown:
        raise RunError(f"--coordinator={place[0]}:{place[1]}: nobody knows this host: {unknown.strerror}") from unknown
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
