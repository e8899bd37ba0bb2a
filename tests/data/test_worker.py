"""data/worker.py: worker processes load the same batches, start from anywhere, and end when they should."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np

from cnnvision.data import pipeline
from tests.data.drawn import Drawn
from tests.data.loading import SPEC, eventually, options, same
from tests.processes import own_words


def test_worker_processes_load_the_same_batches():
    source = Drawn(broken=(3,))
    alone = list(pipeline.train_batches(source, SPEC, options(), 3, 2, 9))
    batches = pipeline.train_batches(source, SPEC, options(workers=2, threads=2), 3, 2, 9)
    shared = [next(batches)]
    assert len(multiprocessing.active_children()) == 2
    shared += list(batches)
    same(alone, shared)
    assert [loaded.failures for loaded in alone] == [loaded.failures for loaded in shared]
    assert all(type(leaf) is not np.ndarray or leaf.base is None for leaf in jax.tree.leaves(shared))
    assert eventually(lambda: not multiprocessing.active_children())


UNGUARDED = """
    import os, sys
    print("main runs", flush=True)
    from cnnvision.data import pipeline
    from cnnvision.data.options import DataSettings
    from cnnvision.inputs import InputSpec
    from tests.data.drawn import Drawn

    class Mine(Drawn):  # of the main module: travels by value
        def __len__(self):
            return 10

    spec = InputSpec(sizes=((16, 16),), target="class")
    options = DataSettings(batch_size=4, workers=2, threads=1)
    batches = pipeline.train_batches(Mine(), spec, options, 0, 0, 10**6)
    first = next(batches)
    import multiprocessing
    print("workers", *[child.pid for child in multiprocessing.active_children()], flush=True)
    print("main is", __file__, flush=True)
    END
"""


def script(tmp_path, end):
    """Starts a script without `if __name__ == "__main__"` whose last line is `end`; returns it when its workers run."""
    path = tmp_path / "unguarded.py"
    path.write_text(textwrap.dedent(UNGUARDED).replace("END", end))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "main runs\n"
    words = process.stdout.readline().split()
    assert words[:1] == ["workers"], process.communicate()[1]
    assert process.stdout.readline() == f"main is {path}\n"
    return process, [int(pid) for pid in words[1:]]


def gone(pid):
    """Whether a process has ended; one that waits for its parent to notice has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_scripts_without_a_guard_start_workers_and_end(tmp_path):
    """Without a word: one iterator has come to its end, the other is still open."""
    process, workers = script(tmp_path, "list(pipeline.train_batches(Mine(), spec, options, 0, 0, 2)); sys.exit(7)")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, own_words(err)) == (7, "", "")
    assert len(workers) == 2 and all(eventually(lambda pid=pid: gone(pid)) for pid in workers)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    process, workers = script(tmp_path, "import time; time.sleep(300)")
    assert len(workers) == 2 and not any(gone(pid) for pid in workers)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in workers)


def test_a_worker_that_dies_is_named(tmp_path):
    process, workers = script(
        tmp_path, "os.kill(multiprocessing.active_children()[0].pid, 9)\n[None for _ in zip(range(100), batches)]"
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "a worker process of the input pipeline died" in err
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in workers)
