"""One step: accumulation, guard, frozen parameters, averages, and the same result on one and on eight devices."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.defaults import base
from cnnvision.training.optimizer import make_optimizer, make_schedule
from cnnvision.training.sharding import check_split, make_mesh, put_batch, state_layout
from cnnvision.training.step import CompiledOnce, loss_and_gradient, make_train_step
from tests.training import toy


def make_batch(*arguments, **options):
    return jax.tree.map(jnp.asarray, toy.make_batch(*arguments, **options))


def optimizer_of(config, steps=12):
    return lambda trainable: make_optimizer(config, steps, trainable)[0]


def first_state(task, config=None, average=False, seed=0):
    config = config or base().optimizer
    return jax.jit(toy.make_init(task, optimizer_of(config), seed, average))(make_batch(0))


def difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y)))), a, b)))


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_gradient_is_that_of_the_whole_batch(accumulate):
    task = toy.make_task(norm=False, dropout=0.0)
    state, batch = first_state(task), make_batch(1, 16, invalid=5)
    arguments = (state.params, state.model_state, batch, jax.random.key(3))
    whole = jax.jit(lambda *of: loss_and_gradient(task, *of))(*arguments)
    sliced = jax.jit(lambda *of: loss_and_gradient(task, *of, accumulate=accumulate))(*arguments)
    assert difference(whole[0], sliced[0]) < 1e-6
    assert abs(float(whole[3]) - float(sliced[3])) < 1e-6
    assert difference(whole[2], sliced[2]) < 1e-4  # sums of metrics


def test_accumulation_counts_without_running_the_network():
    """The pass that counts must not contain the network: its program has no more convolutions than one slice needs."""
    task = toy.make_task()
    state, batch = first_state(task), make_batch(1, 16)
    run = lambda k: jax.jit(lambda p, s, b, key: loss_and_gradient(task, p, s, b, key, k)).lower(
        state.params, state.model_state, batch, jax.random.key(0)
    ).compile().as_text()  # fmt: skip
    assert run(4).count(" convolution(") == run(1).count(" convolution(") > 0


def test_padding_examples_change_nothing():
    task = toy.make_task(dropout=0.0)
    state, batch = first_state(task), make_batch(1, 16, invalid=4)
    other = batch.replace(image=jnp.where(batch.valid[:, None, None, None], batch.image, 255 - batch.image))
    run = jax.jit(lambda batch: loss_and_gradient(task, state.params, state.model_state, batch, jax.random.key(0)))
    jax.tree.map(np.testing.assert_array_equal, run(batch), run(other))


def test_a_step_that_is_not_finite_leaves_everything_as_it_was():
    task = toy.make_task(poison=7.0)
    good, bad = make_batch(1), make_batch(2)
    good = good.replace(image=good.image.at[:, 0, 0, 0].set(8))
    bad = bad.replace(image=bad.image.at[3, 0, 0, 0].set(7))
    step = jax.jit(make_train_step(task, optimizer_of(base().optimizer), log_every=5, ema_decay=0.9))
    stop = jnp.zeros(1, bool)
    state, report = step(first_state(task, average=True), good, stop)
    assert not report.failed and int(state.step) == 1
    after, report = step(state, bad, stop)
    assert bool(report.failed) and bool(after.failed)
    jax.tree.map(np.testing.assert_array_equal, after.replace(failed=state.failed), state)
    later, report = step(after, good, stop)  # frozen from then on
    assert bool(report.failed) and int(later.step) == 1


def test_an_update_that_is_not_finite_is_not_made():
    """Loss and gradient are in order, and what an optimizer makes of them is not."""
    task = toy.make_task()
    broken = lambda trainable: optax.stateless(lambda updates, params: jax.tree.map(lambda x: x / 0.0, updates))
    state = jax.jit(toy.make_init(task, broken, 0, False))(make_batch(0))
    after, report = jax.jit(make_train_step(task, broken, log_every=5))(state, make_batch(1), jnp.zeros(1, bool))
    assert bool(report.failed) and int(after.step) == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    config = base().optimizer
    config.epsilon = 0.0
    with pytest.raises(ConfigError, match="epsilon"):
        optimizer_of(config)({})


def test_window_sums_metrics_and_is_emptied_at_each_logged_step():
    task = toy.make_task(dropout=0.0)
    step = jax.jit(make_train_step(task, optimizer_of(base().optimizer), log_every=2))
    state, losses = first_state(task), []
    for i in range(2):
        before = state
        state, report = step(state, make_batch(i, invalid=i), jnp.zeros(1, bool))
        losses.append(task.loss(before.params, before.model_state, make_batch(i, invalid=i), jax.random.key(0), True))
    expected = sum(float(aux.metrics["loss/class"].total) for _, aux in losses) / (16 + 15)
    assert float(report.window["loss/class"].value()) == pytest.approx(expected, rel=1e-5)
    assert float(state.window["loss/class"].count) == 0.0
    assert float(report.window["loss"].value()) == pytest.approx(
        np.mean([float(loss.value()) for loss, _ in losses]), rel=1e-5
    )


def test_frozen_parameters_stay_and_have_no_optimizer_state():
    import dataclasses

    task = toy.make_task()
    only_heads = lambda params: {
        name: jax.tree.map(lambda leaf, name=name: name in ("class", "level"), tree) for name, tree in params.items()
    }
    task = dataclasses.replace(task, trainable=only_heads)
    config = base().optimizer
    config.weight_decay = 0.5
    state = first_state(task, config)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim == 4]
    assert not moments  # the convolution has none
    after, _ = jax.jit(make_train_step(task, optimizer_of(config), log_every=5))(state, make_batch(1), jnp.zeros(1, bool))
    np.testing.assert_array_equal(after.params["conv"]["kernel"], state.params["conv"]["kernel"])
    assert difference(after.params["class"], state.params["class"]) > 0


def test_weight_decay_spares_norms_and_biases():
    task = toy.make_task()
    config = base().optimizer
    config.update(name="sgd", weight_decay=0.1, momentum=0.0, learning_rate=1.0, schedule="constant")
    state = first_state(task, config)
    optimizer = optimizer_of(config)(task.trainable(state.params))
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = optimizer.update(zeros, state.opt_state, state.params)
    np.testing.assert_allclose(updates["conv"]["kernel"], -0.1 * state.params["conv"]["kernel"], rtol=1e-6)
    for name in ("scale", "bias"):
        assert (np.asarray(updates["norm"][name]) == 0).all()


def test_average_follows_the_parameters():
    task = toy.make_task()
    step = jax.jit(make_train_step(task, optimizer_of(base().optimizer), log_every=5, ema_decay=0.9))
    state = first_state(task, average=True)
    expected = jax.tree.map(np.asarray, state.params)
    for i in range(3):
        state, _ = step(state, make_batch(i), jnp.zeros(1, bool))
        decay = min(0.9, (1 + i) / (10 + i))
        expected = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), expected, state.params)
    assert difference(state.ema_params, expected) < 1e-6
    assert difference(state.ema_params, state.params) > 1e-4


def test_split_parameters_change_nothing():
    """FSDP: the same loss and gradient where every large parameter is cut over the eight devices."""
    task, mesh, batch = toy.make_task(), make_mesh(), toy.make_batch(1)
    state = first_state(task)
    run = jax.jit(functools.partial(loss_and_gradient, task))
    results = []
    for split in (False, True):
        layout = state_layout((state.params, state.model_state), mesh, split, least=8)
        assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(layout)) == split
        params, model_state = jax.device_put((state.params, state.model_state), layout)
        gradients, _, _, loss = run(params, model_state, put_batch(batch, mesh), jax.random.key(0))
        results.append((jax.device_get(gradients), float(loss)))
    assert difference(results[0], results[1]) < 1e-5


def test_parameters_that_no_device_count_divides_are_not_left_whole_without_a_word():
    state, three = {"kernel": np.zeros((8, 16))}, make_mesh(jax.devices()[:3])
    check_split(state, make_mesh(), least=8)
    check_split(state, three, least=1000)
    with pytest.raises(ConfigError, match=r"split_parameters: no side of the 1 large arrays .* multiple of 3 devices"):
        check_split(state, three, least=8)


def test_compiled_once_says_which_shape_is_new():
    compiled = CompiledOnce("f", jax.jit(lambda x: x * 2), time.perf_counter)
    for _ in range(3):
        compiled(jnp.ones((2, 3)))
    assert len(compiled.compilations) == 1
    compiled(jnp.ones((4, 3)))
    assert len(compiled.compilations) == 2
    assert "(2, 3) float32 -> (4, 3) float32" in compiled.compilations[1]


def test_schedules():
    config = base().optimizer
    config.update(learning_rate=2.0, warmup_steps=10, schedule="cosine")
    cosine = make_schedule(config, 110)
    assert [float(cosine(i)) for i in (0, 5, 10, 60, 110)] == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0], abs=1e-6)
    config.update(schedule="step", decay_at=(0.5, 0.9), decay_factor=0.1)
    steps = make_schedule(config, 100)
    found = [float(steps(i)) for i in (10, 49, 50, 51, 89, 91)]
    assert found == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.2, 0.02], rel=1e-5)
    config.update(decay_at=(0.5, 0.51), warmup_steps=0)
    assert float(make_schedule(config, 10)(6)) == pytest.approx(0.02, rel=1e-5)  # both at step 5
