"""experiments.rehearse finds each fault that is planted among real processes, and names it."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from cnnvision.pictures.sheets import write_png
from experiments import rehearse
from tests.conftest import ROOT

PATIENCE = 8
"""Seconds; of the processes of these tests."""


@pytest.fixture
def found(tmp_path, few_shapes, monkeypatch):
    """What the table of a rehearsal with a planted fault says."""
    monkeypatch.setattr(rehearse, "PATIENCE", PATIENCE)
    monkeypatch.setattr(rehearse, "SLACK", 2.0)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "xla"))

    def begin(*overrides, workdir=tmp_path / "run", **planted):
        said, config = [], f"{ROOT}/configs/classifier_shapes.py:smoke"
        well = rehearse.run(
            config, overrides, processes=2, devices=1, workdir=str(workdir), limit=200, say=said.append, **planted
        )
        print(said[-1])
        assert not well and "FAULT: " in said[-1]
        return said[-1]

    return begin


def test_another_config(found):
    table = found(flags={1: ["--config.training.seed=1"]})
    assert "processes 0 and 1 ended with 2: error: the processes of this run do not do the same" in table
    assert "config.training.seed: 0 on process 0, 1 on process 1. Start all with the same" in table


def test_other_data(found, tmp_path):
    for name in ("a/train/cat/1", "a/train/dog/2", "a/val/cat/3", "b/train/cat/1", "b/train/dog/9", "b/val/cat/3"):
        write_png(tmp_path / f"{name}.png", np.zeros((16, 16, 3), np.uint8))
    table = found(("data.source", f"folder:{tmp_path}/a"), flags={1: [f"--config.data.source=folder:{tmp_path}/b"]})
    assert "do not do the same: the training data: " in table and " on process 1. Start all with the same" in table


def test_a_bucket_that_may_only_be_read(found, bucket, storage):
    from tests.storage_server import read_only

    with read_only():
        table = found(workdir=bucket)
    assert f"error: {bucket} cannot be written: Google Cloud Storage: 1234-compute@developer" in table
    assert "does not have storage.objects.create access" in table and "the role Storage Object Admin" in table
    assert not list((storage / "bucket").glob("test_a_bucket_that*"))


def test_a_batch_that_the_devices_do_not_divide(found):
    table = found(("data.eval_batch_size", "7"))
    assert "config error: config.data.eval_batch_size: 7 is no multiple of 2 devices; 8 would be" in table


def test_a_process_that_never_starts(found, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(1000)\n")
    table = found(environment={1: {"PYTHONPATH": str(tmp_path)}})
    assert "process 1 hangs" in table
    assert f"process 0 ended with 75: error: process 1 of 2 did not come within {2 * PATIENCE} s" in table


def test_a_mesh_that_does_not_fit(found):
    table = found(environment={1: {"JAX_NUM_CPU_DEVICES": "2"}})
    assert "different numbers of devices: process 1 has 2; the usual number is 1" in table


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_hangs_among_the_steps(found, tmp_path, monkeypatch, sent):
    started, processes = [], rehearse.Processes
    monkeypatch.setattr(rehearse, "Processes", lambda *arguments: started.append(processes(*arguments)) or started[-1])
    monkeypatch.setattr(rehearse, "KILLED_AFTER", 1000)

    def plant():
        while not rehearse.logged(str(tmp_path / "run")):
            time.sleep(0.1)
        os.kill(started[0].started[1].pid, sent)

    threading.Thread(target=plant, daemon=True).start()
    table = found(("training.steps", "2000"), ("training.eval_every", "0"))
    if sent == signal.SIGKILL:
        assert "process 1 was killed (SIGKILL)" in table
        assert "process 0 ended with 75: error: another process of this run, on 127.0.0.1, is gone" in table
    else:
        assert "process 1 hangs" in table and "process 0 ended with" in table and "gives no sign of life" in table
