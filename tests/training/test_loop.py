"""The loop: a run is a function of its config and data, however often it is interrupted."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from cnnvision.data.pipeline import Loaded
from cnnvision.errors import RunError, WeightsError
from cnnvision.training import loop
from cnnvision.training.checkpoint import Checkpoints
from cnnvision.training.evaluate import SplitEvaluation
from cnnvision.training.failure import replay
from cnnvision.training.metric_log import read_entries
from cnnvision.training.sharding import make_mesh
from cnnvision.types import COCO_AREA_RANGES, Example, Problem
from tests.training import toy

pytestmark = pytest.mark.usefixtures("no_curves")


class Killed(Exception):
    """Stands for the end of the process at an arbitrary place."""


class Split:
    """Five examples of a validation split, the rest of its two batches is padding."""

    name, split, classes, semantic_classes = "toy", "val", toy.CLASSES, ()
    area_ranges, problems, ids = COCO_AREA_RANGES, [], tuple("abcdefghijklmnopqrst")

    def __len__(self):
        return len(self.ids)

    def read(self, index, image=True, masks=False):
        batch = toy.make_batch(1000 + index // 16)
        return Example(self.ids[index], toy.SIZE, label=int(batch.target.labels[index % 16]))


def eval_batches():
    for number in range(2):
        batch = toy.make_batch(1000 + number, 16, invalid=0 if number == 0 else 12)
        yield Loaded(number, batch.replace(index=batch.index + 16 * number * batch.valid), (), 0)


def make_run(workdir, config, task=None, mesh=None, before_step=lambda step: None, fingerprint="f", said=None):
    task, mesh = task or toy.make_task(), mesh or make_mesh(jax.devices()[:1])

    def train_batches(start, stop):
        for step in range(start, stop):
            before_step(step)
            yield Loaded(step, toy.make_batch(step), (), 0)

    return loop.Run(
        task=task,
        config=config,
        workdir=workdir,
        mesh=mesh,
        example_batch=toy.make_batch(0),
        train_batches=train_batches,
        batch_size=16,
        evaluation=SplitEvaluation(task, Split(), eval_batches, mesh),
        classes=toy.CLASSES,
        fit_batches=lambda examples, start: (loaded for loaded in eval_batches() if loaded.step >= start),
        fingerprint=fingerprint,
        say=(said if said is not None else []).append,
    )


def final_state(workdir, config, task=None):
    run = make_run(workdir, config, task)
    with Checkpoints(workdir, run.task.best, config.training.keep, read_only=True) as checkpoints:
        return jax.device_get(loop.first_state(run, checkpoints))


def without_times(entries):
    return [{key: value for key, value in entry.items() if not key.startswith("time/")} for entry in entries]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("whole"), toy.make_config()
    with jax.numpy_dtype_promotion("standard"):
        metrics = loop.train(make_run(workdir, config))
        return workdir, config, metrics, final_state(workdir, config), read_entries(workdir)


def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path):
    def wrong(params, model_state):
        raise WeightsError("not these")

    task = dataclasses.replace(toy.make_task(), warm_start=wrong)
    with pytest.raises(WeightsError):
        loop.train(make_run(tmp_path / "run", toy.make_config(), task))
    assert not (tmp_path / "run").exists()


def test_parameters_that_are_frozen_as_they_were_drawn_are_said(tmp_path):
    config, task = toy.make_config(steps=3), toy.make_task()
    held = lambda params: {**jax.tree.map(lambda leaf: True, params), "conv": {"kernel": False, "bias": False}}
    loaded = lambda params, state: (params, state, "took all")
    for warm_start, words in ((task.warm_start, "224 parameters are frozen as they were drawn"), (loaded, "took all")):
        said = []
        task = dataclasses.replace(task, trainable=held, warm_start=warm_start)
        loop.new_state(make_run(tmp_path, config, task, said=said))
        assert len(said) == 1 and said[0].startswith(words)


def test_what_cannot_be_used_is_said_once_and_counted_each_time(tmp_path):
    said, problem = [], Problem("a.png", "", "", "", "is no picture", "Restore it.", "left out")
    run = make_run(tmp_path, toy.make_config(), said=said)
    batches = run.train_batches
    run.train_batches = lambda *steps: (loaded._replace(failures=(problem,) * 2) for loaded in batches(*steps))
    loop.train(run)
    assert len([line for line in said if line.startswith("not used: ")]) == 1
    assert [entry["examples_failed"] for entry in read_entries(tmp_path) if entry["split"] == "train"][-1] == 24


def test_an_evaluation_in_which_nothing_counts_has_no_loss(tmp_path):
    said: list[str] = []
    run = make_run(tmp_path, toy.make_config(steps=3), said=said)
    nothing = lambda loaded: loaded._replace(
        batch=loaded.batch.replace(target=loaded.batch.target.replace(valid=np.zeros(16, bool)))
    )
    run.evaluation.batches = lambda: map(nothing, eval_batches())
    metrics = loop.train(run)
    assert np.isnan(metrics["loss"]) and np.isnan(metrics["loss/class"])
    assert len([line for line in said if line.startswith("nothing in what is evaluated on counts")]) == 1
    assert read_entries(tmp_path)[-1]["loss"] is None


def test_a_finished_run_that_lost_its_log_is_evaluated_again(uninterrupted, tmp_path):
    workdir, config, metrics, *_ = uninterrupted
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert loop.train(make_run(tmp_path / "run", config)) == metrics


@pytest.mark.parametrize("text", ["{garbage}\n", "{}\n", '{"step": "x"}\n', "\x00\n"])
def test_a_log_that_was_written_into(text, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n' + text)
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2: this is no entry"):
        read_entries(tmp_path)


@pytest.mark.parametrize(
    "part, message", [("network", "is damaged.*goes on from step 8"), ("info", "step 8"), ("", "damaged")]
)
def test_a_damaged_checkpoint_is_named_and_cured(uninterrupted, tmp_path, part, message):
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    config = toy.make_config(steps=16)  # so that the run has to go on
    for path in (tmp_path / "run" / "checkpoints" / "12" / part).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(RunError, match=message):
        loop.train(make_run(tmp_path / "run", config))


def test_objects_that_found_no_room_are_counted(tmp_path):
    said = []
    run = make_run(tmp_path, toy.make_config(steps=3, log_every=1, eval_every=0, save_every=0), said=said)
    batches = run.train_batches
    run.train_batches = lambda *steps: (loaded._replace(dropped_objects=3 * loaded.step) for loaded in batches(*steps))
    loop.train(run)
    entries = [entry for entry in read_entries(tmp_path) if entry["split"] == "train"]
    assert [entry["objects_dropped"] for entry in entries] == [0, 3, 9]
    assert len([line for line in said if "config.model.max_objects" in line]) == 1


def test_a_run_leaves_what_it_promises(uninterrupted):
    workdir, _, metrics, state, entries = uninterrupted
    assert int(state.step) == 12
    assert 0 <= metrics["accuracy"] <= 1 and metrics["images"] == 20
    assert [(r["step"], r["split"]) for r in entries] == [
        (3, "train"), (6, "train"), (6, "val"), (9, "train"), (12, "train"), (12, "val")
    ]  # fmt: skip
    assert {"loss", "loss/class", "gradient_norm", "learning_rate", "time/step", "time/input_wait"} <= set(entries[0])
    pictures = {path.name for path in (workdir / "pictures").iterdir()}
    assert pictures == {"step_0000000_inputs.png", "step_0000006_val.png", "step_0000012_val.png", "curves.png"}
    assert list((workdir / "tensorboard").iterdir())
    kept = {int(path.name) for path in (workdir / "checkpoints").iterdir()}
    best = max((r["accuracy"], r["step"]) for r in entries if r["split"] == "val")[1]
    assert kept == {8, 12, best}


@pytest.mark.parametrize("kills", [(0,), (1, 2), (5,), (7,), (9, 10, 11), (4, 8, 11)])
def test_killed_and_started_again_ends_in_the_same_bits(uninterrupted, tmp_path, kills):
    _, config, metrics, expected, entries = uninterrupted
    for kill in kills:

        def die(step, kill=kill):
            if step == kill:
                raise Killed

        with pytest.raises(Killed):
            loop.train(make_run(tmp_path, config, before_step=die))
    found_metrics = loop.train(make_run(tmp_path, config))
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path, config), expected)
    assert found_metrics == metrics
    assert without_times(read_entries(tmp_path)) == without_times(entries)


def test_a_finished_run_answers_with_its_metrics(uninterrupted):
    workdir, config, metrics, _, entries = uninterrupted
    said = []
    assert loop.train(make_run(workdir, config, said=said)) == metrics
    assert "has all of its 12 steps" in said[-1]
    assert read_entries(workdir) == entries


def test_sigterm_saves_and_the_next_start_goes_on(uninterrupted, tmp_path):
    _, config, _, expected, entries = uninterrupted
    said = []
    term = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 6 else None
    assert loop.train(make_run(tmp_path, config, before_step=term, said=said)) == {}
    assert "SIGTERM" in said[-1]
    stopped_at = int(final_state(tmp_path, config).step)
    assert 7 <= stopped_at <= 8
    loop.train(make_run(tmp_path, config))
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path, config), expected)
    assert without_times(read_entries(tmp_path)) == without_times(entries)


def test_other_training_data_are_refused(uninterrupted):
    workdir, config, *_ = uninterrupted
    with pytest.raises(RunError, match="training data are not those"):
        loop.train(make_run(workdir, config, fingerprint="other"))


def test_one_compilation_a_run(tmp_path):
    said = []
    run = make_run(tmp_path, toy.make_config(), said=said)
    loop.train(run)
    assert len([line for line in said if line.startswith("compiled the training step")]) == 1
    assert len(run.evaluation.compiled.compilations) == 1


def test_not_finite_stops_with_the_state_before_and_the_batch(tmp_path):
    poison = int(toy.make_batch(7).image[:, 0, 0, 0].max())
    task, config = toy.make_task(poison=float(poison)), toy.make_config()
    poisoned = next(step for step in range(12) if (toy.make_batch(step).image[:, 0, 0, 0] == poison).any())
    with pytest.raises(RunError, match=f"step {poisoned}: the loss or its gradient is not finite") as error:
        loop.train(make_run(tmp_path, config, task))
    assert f"experiments.replay --workdir={tmp_path} --step={poisoned}" in str(error.value)
    saved = np.load(tmp_path / "failure" / f"step_{poisoned}_process_0.npz")
    np.testing.assert_array_equal(saved["image"], toy.make_batch(poisoned).image)
    state = final_state(tmp_path, config, task)
    assert int(state.step) == poisoned and not state.failed
    batch = jax.tree.map(jax.numpy.asarray, toy.make_batch(poisoned))
    lines = replay(task, state.params, state.model_state, batch, make_mesh(), config.training.seed, poisoned, 1)
    assert lines[0] == "loss inf"
    with pytest.raises(RunError, match=f"step {poisoned}"):  # started again, it fails at the same step
        loop.train(make_run(tmp_path, config, task))


def test_a_cut_last_line_of_the_log_is_forgotten(uninterrupted, tmp_path):
    _, config, _, _, entries = uninterrupted

    def die(step):
        if step == 10:
            with open(tmp_path / "metrics.jsonl", "a") as file:
                file.write('{"step": 9, "spl')
            raise Killed

    with pytest.raises(Killed):
        loop.train(make_run(tmp_path, config, before_step=die))
    loop.train(make_run(tmp_path, config))
    assert without_times(read_entries(tmp_path)) == without_times(entries)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_checkpoint_opens_on_any_mesh(tmp_path):
    """Saved on eight devices, gone on with on one, then on four. By plain gradient descent with momentum: Adam's first steps
    are as long for a gradient that is rounding error as for any other.
    """
    config = toy.make_config()
    config.optimizer.update(name="sgd", learning_rate=0.1)
    whole = loop.train(make_run(tmp_path / "whole", config))

    def die_at(steps):
        def die(step):
            if step == steps:
                raise Killed

        return die

    for devices, kill in ((8, 5), (1, 9), (4, None)):
        run = make_run(tmp_path / "run", config, mesh=make_mesh(jax.devices()[:devices]), before_step=die_at(kill))
        if kill is None:
            loop.train(run)
        else:
            with pytest.raises(Killed):
                loop.train(run)
    np.testing.assert_allclose(loop.train(make_run(tmp_path / "run", config))["loss"], whole["loss"], rtol=1e-5)
