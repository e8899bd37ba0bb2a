"""Processes that tests start, and the distance between what they find."""

import os
import socket
import subprocess
import sys

import numpy as np

from tests.conftest import ROOT


def start(*arguments, devices=4):
    """Starts `python -m` with the arguments, on a number of CPU devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "xla")
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_address():
    """Where processes can find each other."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def finish(processes, timeout=300):
    """What each process printed, once all have ended well; `timeout` is in seconds."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def own_words(stderr):
    """What a process wrote to stderr, without what Grain says where jaxlib is older than it likes."""
    return "".join(line for line in stderr.splitlines(True) if "Grain multiprocess worker profiling" not in line)


def distance(a, b):
    """Norm of the difference over the norm of `a`, of two lists of arrays."""
    norm = lambda leaves: np.sqrt(sum(float(np.sum(np.square(leaf, dtype=np.float64))) for leaf in leaves))
    return norm([x - y for x, y in zip(a, b, strict=True)]) / norm(a)
