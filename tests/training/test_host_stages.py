"""Stages after the training steps: run, killed and stopped, they end in the same bits."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.task import HostStage
from cnnvision.training import loop
from cnnvision.training.checkpoint import Checkpoints
from cnnvision.training.metric_log import read_entries
from tests.training import toy
from tests.training.test_loop import Killed, final_state, make_run, without_times

pytestmark = pytest.mark.usefixtures("no_curves")

SEEN = 16 + 4  # valid rows of test_loop's two batches


def make_task(before_fit=lambda name: None, computed=lambda: None, best=None):
    """The toy with two stages more: the mean brightness into one bias, then twice as much of what stage one gave."""

    def outputs(params, model_state, batch):
        jax.debug.callback(computed)
        bias = jnp.broadcast_to(params["level"]["bias"], (len(batch.valid), 1))
        return {"level": batch.image.astype(jnp.float32).mean((1, 2, 3)) / 255, "bias": bias}

    def fit_mean(params, read):
        before_fit("mean")
        levels = np.concatenate([batch["level"] for batch in read()])
        assert levels.shape == (SEEN,)
        return {**params, "level": {**params["level"], "bias": np.float64(levels).mean(keepdims=True)}}

    def fit_twice(params, read):
        before_fit("twice")
        bias = next(read())["bias"][0, :1]
        np.testing.assert_array_equal(bias, params["level"]["bias"])  # of the weights after stage one
        return {**params, "level": {**params["level"], "bias": 2 * bias}}

    stages = (HostStage("mean", 20, outputs, fit_mean), HostStage("twice", None, outputs, fit_twice))
    return dataclasses.replace(toy.make_task(), host_stages=stages, best=best)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("whole"), toy.make_config()
    with jax.numpy_dtype_promotion("standard"):
        metrics = loop.train(make_run(workdir, config, make_task()))
        return workdir, config, metrics, final_state(workdir, config, make_task()), read_entries(workdir)


def test_each_stage_is_one_step_more_evaluated_and_saved(whole):
    workdir, config, metrics, state, entries = whole
    assert int(state.step) == 14
    assert [r["step"] for r in entries if r["split"] == "val"] == [6, 12, 13, 14]
    assert metrics["accuracy"] == entries[-1]["accuracy"]
    images = [batch.batch.image[batch.batch.valid] for batch in make_run(workdir, config).fit_batches(0, 0)]
    mean = np.concatenate(images).astype(np.float32).mean((1, 2, 3)).mean() / 255
    np.testing.assert_allclose(state.params["level"]["bias"], [2 * mean], rtol=1e-5)
    with Checkpoints(workdir, None, config.training.keep, read_only=True) as checkpoints:
        assert checkpoints.steps()[-2:] == [13, 14] and checkpoints.best_step() == 14
    assert not (workdir / "outputs").exists()
    assert loop.train(make_run(workdir, config, make_task())) == metrics


def test_the_end_alone_is_evaluated_where_the_config_says_so(tmp_path):
    config = toy.make_config(eval_every=0)
    metrics = loop.train(make_run(tmp_path, config, make_task()))
    assert [r["step"] for r in read_entries(tmp_path) if r["split"] == "val"] == [14] and metrics["images"] == 20


@pytest.mark.parametrize("where", ["mean", "twice", "outputs"])
def test_a_stage_that_is_killed_goes_on_to_the_same_bits(whole, tmp_path, where):
    _, config, metrics, expected, entries = whole
    made, batches = [], []

    def die(name):
        if name == where:
            raise Killed

    def fit_batches(examples, start):
        for loaded in make_run(tmp_path, config).fit_batches(examples, start):
            batches.append(loaded.step)
            if where == "outputs" and loaded.step == 1 and len(made) == 0:
                made.append(loaded.step)
                raise Killed
            yield loaded

    run = dataclasses.replace(make_run(tmp_path, config, make_task(die)), fit_batches=fit_batches)
    with pytest.raises(Killed):
        loop.train(run)
    batches.clear()
    run = dataclasses.replace(make_run(tmp_path, config, make_task()), fit_batches=fit_batches)
    assert loop.train(run) == metrics
    # Outputs that are there are not computed again; the stage after has outputs of its own.
    assert batches == {"mean": [0, 1], "twice": [], "outputs": [1, 0, 1]}[where]
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path, config, make_task()), expected)
    assert without_times(read_entries(tmp_path)) == without_times(entries)


def test_sigterm_in_a_stage_loses_nothing(whole, tmp_path):
    _, config, _, expected, entries = whole
    said, asked = [], []

    def ask():
        if not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    assert loop.train(make_run(tmp_path, config, make_task(computed=ask), said=said)) == {}
    assert "SIGTERM" in said[-1] and "in this stage" in said[-1]
    loop.train(make_run(tmp_path, config, make_task()))
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path, config, make_task()), expected)
    assert without_times(read_entries(tmp_path)) == without_times(entries)


@pytest.mark.parametrize("before_last", [False, True])
def test_sigterm_between_the_training_steps_and_the_stages_is_not_lost(whole, tmp_path, before_last):
    """In the last training step, whose own answer to it comes too late; and in the evaluation after it."""
    _, config, _, expected, entries = whole
    said, evaluated = [], []

    def ask(line):
        said.append(line)
        if line.startswith("step 12/12 " if before_last else "step 12 val"):
            os.kill(os.getpid(), signal.SIGTERM)

    assert loop.train(dataclasses.replace(make_run(tmp_path, config, make_task(computed=evaluated.append)), say=ask)) == {}
    assert "SIGTERM" in said[-1] and "in this stage" in said[-1] and not evaluated
    loop.train(make_run(tmp_path, config, make_task()))
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path, config, make_task()), expected)
    assert without_times(read_entries(tmp_path)) == without_times(entries)


def test_an_average_is_fitted_to_and_gets_the_result(tmp_path):
    config = toy.make_config(ema_decay=0.9)
    loop.train(make_run(tmp_path, config, make_task()))
    state = final_state(tmp_path, config, make_task())
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema_params)
