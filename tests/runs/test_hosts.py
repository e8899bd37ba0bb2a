"""runs/hosts.py: processes that find each other, and those that do not; test_planted_faults.py starts real ones."""

import concurrent.futures
import contextlib
import socket
import threading
import time

import jax
import pytest

from cnnvision.errors import TRY_AGAIN, OtherProcessError, RunError
from cnnvision.runs import hosts
from tests.processes import free_address


def answers(count, which, seconds, address=None):
    """What `meet` says to each of these processes, which begin at the same time: "" or its error."""
    address = address or free_address()

    def one(index):
        try:
            hosts.meet(address, count, index, seconds)
        except OtherProcessError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(len(which)) as threads:
        return list(threads.map(one, which))


def test_all_are_there():
    assert answers(4, [3, 1, 0, 2], 20.0) == [""] * 4


def test_those_that_do_not_come_are_named_to_all():
    for said in answers(4, [0, 2], 0.5):
        assert said.startswith("processes 1 and 3 of 4 did not come within 0 s.")


def test_without_process_0_nobody_waits_for_ever():
    address = free_address()
    assert answers(3, [2], 0.3, address)[0].startswith(f"process 0 of 3 does not answer at {address}")


def test_strangers_and_calls_that_break_off_do_not_matter():
    address = free_address()
    said = []
    first = threading.Thread(target=lambda: said.extend(answers(2, [0], 20.0, address)))
    first.start()
    place = ("localhost", int(address.split(":")[1]))
    for words in (b"GET / HTTP/1.1\r\n", b"", b"1 of"):
        while True:
            try:
                with socket.create_connection(place) as call:
                    call.sendall(words)
                break
            except ConnectionRefusedError:
                assert first.is_alive()
    assert answers(2, [1], 20.0, address) == [""]
    first.join()
    assert said == [""]


def test_strangers_that_say_nothing_keep_nobody_waiting():
    address = free_address()
    with concurrent.futures.ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as opened:
        first = threads.submit(answers, 2, [0], 20.0, address)
        for _ in range(3):
            while True:
                try:
                    call = opened.enter_context(socket.create_connection(("localhost", int(address.split(":")[1]))))
                    break
                except ConnectionRefusedError:
                    assert not first.done()
            call.sendall(b"1 o")
        began = time.monotonic()
        assert answers(2, [1], 20.0, address) == first.result() == [""]
        assert time.monotonic() - began < 10


def test_two_processes_of_one_index_are_named():
    assert answers(3, [0, 1, 1], 20.0) == ["two processes were started as --process=1"] * 3


def test_a_host_that_nobody_knows_is_said():
    with pytest.raises(RunError, match=r"nosuchhost\.invalid:1: nobody knows this host"):
        hosts.meet("nosuchhost.invalid:1", 2, 1, 0.3)


def test_without_a_cluster_the_flags_are_named(monkeypatch):
    def initialize(*given, **times):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(RunError, match=r"--distributed: nothing here tells the hosts .*Give --coordinator=HOST:PORT"):
        hosts.come_together(None, None, None, 5)


def test_another_number_of_processes_is_said():
    address = free_address()
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        both = [threads.submit(answers, *asked, 20.0, address) for asked in ((2, [0]), (4, [1]))]
    assert {each.result()[0] for each in both} == {
        "process 1 was started as one of 4, process 0 as one of 2: --processes differs"
    }


@pytest.mark.parametrize(
    ("address", "index", "words"),
    [
        ("localhost", 0, "--coordinator=localhost: give HOST:PORT"),
        ("localhost:1", 2, "--process=2: of 2 processes"),
        ("localhost:99999", 0, "port below 65536"),
    ],
)
def test_what_cannot_be_an_address_or_an_index(address, index, words):
    with pytest.raises(RunError, match=words):
        hosts.meet(address, 2, index, 1.0)


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"--coordinator=localhost:{port}: .* cannot listen there: .* Take another port"):
            hosts.meet(f"localhost:{port}", 2, 0, 1.0)


def test_a_start_that_takes_too_long_ends_in_a_line(monkeypatch, capsys):
    ended = threading.Event()
    codes = []
    monkeypatch.setattr(hosts.os, "_exit", lambda code: (codes.append(code), ended.set()))
    with hosts._ends_after(0.01, "not all are there."):
        assert ended.wait(20)
    assert codes == [TRY_AGAIN] and capsys.readouterr().err == "error: after 0 s, not all are there.\n"


def test_a_broken_connection_means_that_another_process_is_gone(monkeypatch):
    broken = ValueError("UNKNOWN: Gloo all-reduce failed: [pair.cc:547] Connection closed by peer [10.0.0.7]:41664")
    assert hosts.explained(broken) is broken
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert str(hosts.explained(broken)).startswith("another process of this run, on 10.0.0.7, is gone. Its own output")
    bug = KeyError("a bug")
    assert hosts.explained(bug) is bug
