"""Run folders in a bucket: a run that is killed ends as one on this machine does."""

import json
import os
import signal
import time

import jax
import numpy as np

from cnnvision.runs.network import read_network
from cnnvision.storage import path_of
from cnnvision.training.sharding import make_mesh
from tests.processes import finish, start

TRAIN = ("experiments.train", "--config=configs/classifier_shapes.py:smoke")
STEPS = ("--config.training.steps=12", "--config.training.save_every=1", "--config.training.log_every=1")


def network(workdir):
    opened = read_network(workdir, None, make_mesh(jax.devices()[:1]))
    return opened.step, jax.device_get((opened.params, opened.model_state))


def metrics(workdir):
    """What was logged, but for what is measured in seconds."""
    lines = map(json.loads, (path_of(workdir) / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def kill_in_a_save(process, folder):
    """Kills a process (SIGKILL) while a checkpoint is there that is not whole; says whether one was."""
    while process.poll() is None:
        for step in folder.glob("checkpoints/*"):
            if not (step / "commit_success.txt").exists():
                process.send_signal(signal.SIGKILL)
                process.communicate()
                return not (step / "commit_success.txt").exists()
        time.sleep(0.002)
    return False


def test_a_run_that_is_killed_in_its_saves_ends_as_one_on_this_machine(tmp_path, storage, bucket, few_shapes):
    finish([start(*TRAIN, *STEPS, f"--workdir={tmp_path / 'run'}", devices=1)])
    command = (*TRAIN, *STEPS, f"--workdir={bucket}")
    on_disk = storage / bucket.removeprefix("gs://")
    killed = sum(kill_in_a_save(start(*command, devices=1), on_disk) for _ in range(2))
    assert killed
    finish([start(*command, devices=1)])
    (step, there), (same, here) = network(bucket), network(tmp_path / "run")
    assert step == same
    jax.tree.map(np.testing.assert_array_equal, there, here)
    assert metrics(bucket) == metrics(tmp_path / "run")
    assert list(on_disk.glob("tensorboard/events*")) and list(on_disk.glob("pictures/curves.png"))
    assert not os.path.exists("gs:")
    assert "accuracy" in finish([start("experiments.evaluate", f"--workdir={bucket}", devices=1)])[0]
    assert (on_disk / "evaluation" / "val.json").is_file()
