"""One device, eight devices, and two processes of four devices each: the same losses and gradients, and one run together."""

import json
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.runs.defaults import base
from cnnvision.training.optimizer import make_optimizer
from cnnvision.training.sharding import everywhere, make_mesh, put_batch
from cnnvision.training.step import loss_and_gradient, make_train_step, step_key
from tests.conftest import ROOT
from tests.processes import distance, finish, free_address, start
from tests.training import toy
from tests.training.process_of_many import ROWS

STATES = 20


def test_from_each_of_twenty_states_the_loss_and_the_gradient_are_the_same(tmp_path):
    task = toy.make_task()
    optimizer = lambda trainable: make_optimizer(base().optimizer, STATES, trainable)[0]
    one, eight = make_mesh(jax.devices()[:1]), make_mesh()
    run = jax.jit(lambda p, s, b, n: loss_and_gradient(task, p, s, b, step_key(0, n)))
    step = jax.jit(make_train_step(task, optimizer, log_every=5))
    state = jax.jit(toy.make_init(task, optimizer, 0, False))(toy.make_batch(0, ROWS))
    expected, on_eight = [], []
    for number in range(STATES):
        batch = toy.make_batch(number, ROWS, invalid=number % 4)
        leaves = jax.tree.leaves(jax.device_get((state.params, state.model_state, batch)))
        np.savez(tmp_path / f"state_{number}.npz", **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
        for mesh, results in ((one, expected), (eight, on_eight)):
            params, model_state = jax.device_put((state.params, state.model_state), everywhere(mesh))
            gradients, _, _, loss = run(params, model_state, put_batch(batch, mesh), np.int32(number))
            results.append((float(loss), [np.asarray(leaf) for leaf in jax.tree.leaves(gradients)]))
        state, _ = step(state, jax.tree.map(jnp.asarray, batch), jnp.zeros(1, bool))

    address = free_address()
    finish([start("tests.training.process_of_many", address, 2, i, tmp_path) for i in range(2)])
    for number in range(STATES):
        saved = np.load(tmp_path / f"found_{number}.npz")
        on_two = (float(saved["loss"]), [saved[f"leaf{i}"] for i in range(len(expected[number][1]))])
        for loss, gradients in (on_eight[number], on_two):
            assert abs(loss - expected[number][0]) <= 1e-5
            assert distance(expected[number][1], gradients) <= 1e-4


@pytest.fixture
def train_together(tmp_path):
    """Starts two processes of four devices each on the smoke config; kills what is left of them at the end."""
    started = []

    def begin(workdir, *overrides, config="localizer_shapes", second=()):
        """`second`: flags of the second process alone."""
        address = free_address()
        flags = ("experiments.train", f"--config={ROOT}/configs/{config}.py:smoke", f"--workdir={workdir}")
        together = (f"--coordinator={address}", "--processes=2")
        for i in range(2):
            started.append(start(*flags, *together, f"--process={i}", *overrides, *(second if i else ())))
        return started[-2:]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_and_evaluate_as_one_does(train_together, tmp_path, few_shapes):
    """R-CNN, which has stages after the training steps, too; the second process has no row of the last batch."""
    uneven = "--config.data.eval_examples=20"
    outputs = finish(train_together(tmp_path / "two", uneven, config="rcnn_shapes"))
    assert "AP50" in outputs[0]
    finish([start("experiments.train", f"--config={ROOT}/configs/rcnn_shapes.py:smoke",
                  f"--workdir={tmp_path / 'one'}", uneven, devices=8)])  # fmt: skip
    two, one = records(tmp_path / "two"), records(tmp_path / "one")
    assert [(r["step"], r["split"]) for r in two] == [(r["step"], r["split"]) for r in one]
    for a, b in zip(two, one, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
    assert [r["step"] for r in two if r["split"] == "val"] == [4, 5, 6]
    assert two[-1]["images"] == one[-1]["images"] == 20


def test_two_processes_stop_together_when_one_is_asked_to(train_together, tmp_path, few_shapes):
    processes = train_together(tmp_path, "--config.training.steps=4000", "--config.training.log_every=1")
    log = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and len(log.read_text().splitlines()) >= 2):
        assert all(process.poll() is None for process in processes), [p.communicate()[0] for p in processes]
        assert time.monotonic() < deadline, "no step was logged"
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [75, 75], outputs
    assert "Asked to stop (by another process): saved step" in outputs[0]
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) >= 2


def test_a_process_that_cannot_take_part_is_named_to_the_others_before_a_step(train_together, tmp_path, few_shapes):
    processes = train_together(tmp_path / "run", second=("--config.data.source=coco:/nowhere/at/all",))
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    for output in outputs:
        assert "there is no folder 'nowhere'" in output and "Traceback" not in output
    assert "process 1 of 2 cannot take part" in outputs[0]
    assert not (tmp_path / "run" / "config.json").exists()
