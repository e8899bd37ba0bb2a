"""The laws of the task contract (cnnvision/task.py), for every model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import make_backbone
from cnnvision.heads.box_regression import BOX_LOSSES
from cnnvision.models import MODELS
from cnnvision.ops.boxes import to_fractions
from cnnvision.types import IGNORE, ClassTarget, SegmentationPrediction, SemanticTarget
from tests.models.cases import CASES
from tests.models.tasks import ROWS, make_batch, model_of, prepared, task_of


def with_noise_where(invalid, task, batch, seed=9):
    """The batch with other images and targets in the rows that are not valid."""
    other = make_batch(task, seed, len(batch.valid))
    pick = lambda a, b: jnp.where(invalid.reshape(-1, *[1] * (a.ndim - 1)), b, a)
    return batch.replace(image=pick(batch.image, other.image), target=jax.tree.map(pick, batch.target, other.target))


def nothing_in(target):
    """The target with nothing to learn from."""
    if isinstance(target, SemanticTarget):
        return target.replace(labels=jnp.full_like(target.labels, IGNORE))
    return target.replace(valid=jnp.zeros_like(target.valid))


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def finite(tree):
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


def test_every_model_has_a_case():
    assert set(CASES) == set(MODELS), "give it a Case in tests/models/cases.py"


@pytest.mark.parametrize("name", CASES)
def test_padding_examples_change_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    batch = batch.replace(valid=jnp.array([True, True, False, True]))
    noisy = with_noise_where(~batch.valid, task, batch)
    results = [gradient(params, state, b, jax.random.key(1), True) for b in (batch, noisy)]
    equal(*results)


@pytest.mark.parametrize("name", CASES)
def test_padding_objects_change_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    if isinstance(batch.target, SemanticTarget):
        pytest.skip("a class map has no list of objects that could be padded")
    target = batch.target.replace(valid=batch.target.valid.at[1].set(False))
    batch = batch.replace(target=target)
    other = make_batch(task, 5).target
    if isinstance(target, ClassTarget):
        noisy = target.replace(labels=target.labels.at[1].set(other.labels[1]))
    else:
        noisy = target.replace(labels=target.labels.at[1].set(other.labels[1]), boxes=target.boxes.at[1].set(other.boxes[1]))
    equal(*(gradient(params, state, batch.replace(target=t), jax.random.key(1), True) for t in (target, noisy)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("train", [True, False])
def test_a_batch_with_nothing_to_learn_is_finite(name, train):
    task, params, state, gradient, predict = prepared(name)
    batch = make_batch(task)
    without_objects = batch.replace(target=nothing_in(batch.target))
    without_examples = batch.replace(valid=jnp.zeros_like(batch.valid))
    for empty in (without_objects, without_examples):
        (loss, (_, aux)), gradients = gradient(params, state, empty, jax.random.key(1), train)
        assert finite((loss, gradients, aux))
        if empty is without_objects and CASES[name].background:
            continue
        assert float(loss) == 0.0
        assert all(not bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients))
    assert finite(predict(params, state, without_examples))


@pytest.mark.parametrize("name", CASES)
def test_evaluation_leaves_the_state_alone_and_draws_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    first = gradient(params, state, batch, jax.random.key(1), False)
    second = gradient(params, state, batch, jax.random.key(2), False)
    equal(first, second)
    equal(first[0][1][1].model_state, state)
    trained = gradient(params, state, batch, jax.random.key(1), True)[0][1][1].model_state
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), trained, state)
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", CASES)
def test_training_draws_from_the_key_alone(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    losses = [float(gradient(params, state, batch, jax.random.key(seed), True)[0][0]) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] and (losses[1] != losses[2]) == CASES[name].draws


@pytest.mark.parametrize("name", CASES)
def test_predictions_never_see_the_targets(name):
    task, params, state, _, predict = prepared(name)
    batch, other = make_batch(task, 0), make_batch(task, 1)
    equal(predict(params, state, batch), predict(params, state, batch.replace(target=other.target)))
    nothing = jax.eval_shape(task.predict, params, state, batch.replace(target=None))
    assert jax.tree.map(jnp.shape, nothing) == jax.tree.map(jnp.shape, predict(params, state, batch))
    field = "labels" if isinstance(batch.target, SemanticTarget) else "scores"
    same = np.array_equal(*(getattr(predict(params, state, b), field) for b in (other, batch)))
    assert not same, "predictions do not depend on the image, or nothing is found: see `Case`"


@pytest.mark.parametrize("name", CASES)
def test_one_program_for_any_number_of_objects(name):
    (task, params, state, gradient, predict), programs = prepared(name), []
    for count in range(ROWS + 1):
        batch = make_batch(task, count)
        keep = jnp.arange(ROWS) < count
        pick = lambda a, b, keep=keep: jnp.where(keep.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        batch = batch.replace(target=jax.tree.map(pick, batch.target, nothing_in(batch.target)), valid=keep)
        gradient(params, state, batch, jax.random.key(0), True)
        predict(params, state, batch)
        programs.append((gradient._cache_size(), predict._cache_size()))
    assert set(programs) == {programs[0]}  # what the first batch compiled serves them all


@pytest.mark.parametrize("name", CASES)
def test_one_set_of_parameters_for_every_declared_size(name):
    task = task_of(name, more_sizes=((64, 96), (32, 64)))
    shapes, losses = set(), set()
    for size in task.inputs.sizes:
        batch = make_batch(dataclasses.replace(task, inputs=dataclasses.replace(task.inputs, sizes=(size,))))
        assert batch.image.shape[1:3] == size
        params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
        shapes.add(str(jax.tree.map(jnp.shape, (params, state))))
        loss = jax.eval_shape(lambda p, s, b: task.loss(p, s, b, jax.random.key(0), True), params, state, batch)
        losses.add(str(loss))
        prediction = jax.eval_shape(task.predict, params, state, batch)
        if isinstance(prediction, SegmentationPrediction):
            assert prediction.labels.shape[1:] == size
    assert task.inputs.sizes == ((64, 64), (64, 96), (32, 64)) and len(shapes) == len(losses) == 1


@pytest.mark.parametrize("name", CASES)
def test_the_loss_on_one_batch_falls(name):
    task, params, state, gradient, _ = prepared(name)
    batch, losses = make_batch(task), []
    rate = CASES[name].learning_rate
    for i in range(40):
        (loss, (_, aux)), gradients = gradient(params, state, batch, jax.random.key(i), True)
        params = jax.tree.map(lambda value, slope: value - rate * slope, params, gradients)
        state = aux.model_state
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


@functools.cache
def halved(name):
    """The task in bfloat16 with two frozen stages, where it has a backbone, and its loss and gradient on one batch."""
    half = {"dtype": "bfloat16"}
    if "backbone" in model_of(name):
        half = {"backbone": {**model_of(name).backbone.to_dict(), **half, "frozen_stages": 2}}
    task, (_, params, state, *_) = task_of(name, **half), prepared(name)
    batch = make_batch(task)
    objective = lambda params: task.loss(params, state, batch, jax.random.key(0), True)[0].value()
    return task, batch, *jax.jit(jax.value_and_grad(objective))(params)


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_bfloat16_are_finite_and_parameters_stay_float32(name):
    if not {"backbone", "dtype"} & {*model_of(name)}:
        pytest.skip("has no dtype that could be set")
    task, batch, loss, gradients = halved(name)
    _, params, state, *_ = prepared(name)
    made = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), made) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), (params, state)
    )
    assert loss.dtype == jnp.float32 and finite(gradients)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, gradients))} == {jnp.dtype("float32")}
    prediction = jax.eval_shape(task.predict, params, state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} <= {
        jnp.dtype(kind) for kind in ("float32", "uint8", "int32", "bool")
    }


@pytest.mark.parametrize("name", CASES)
def test_frozen_stages_do_not_move(name):
    if "backbone" not in model_of(name):
        pytest.skip("has no backbone that could be frozen")
    task, _, _, gradients = halved(name)
    stages = make_backbone(**model_of(name).backbone).stages[:2]
    moves = task.trainable(prepared(name)[1])
    fitted = [part for part, leaves in moves.items() if part != "backbone" and not any(jax.tree.leaves(leaves))]
    assert bool(fitted) == bool(task.host_stages)  # parameters that no gradient moves, but a stage after the training steps
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        keys = [key.key for key in path]
        frozen = (keys[0] == "backbone" and keys[1] in stages) or keys[0] in fitted
        assert functools.reduce(lambda tree, key: tree[key], keys, moves) == (not frozen)
        assert bool(jnp.any(leaf)) == (not frozen), keys


def test_alpha_weighs_the_two_losses():
    """L = α·Lc + (1 − α)·Lr, from the metrics that the same call returns."""
    for alpha in (0.0, 0.1, 0.5, 1.0):
        task = task_of("localizer", alpha=alpha, dropout=0.0)
        _, params, state, _, _ = prepared("localizer")
        loss, aux = jax.jit(task.loss, static_argnums=4)(params, state, make_batch(task), jax.random.key(0), True)
        parts = {name: float(aux.metrics[name].value()) for name in ("loss/class", "loss/box")}
        assert float(loss.value()) == pytest.approx(alpha * parts["loss/class"] + (1 - alpha) * parts["loss/box"], rel=1e-6)


@pytest.mark.parametrize("box_loss", ["mean_squared_error", "smooth_l1", "giou"])
@pytest.mark.parametrize("box_pooling", ["flatten", "attention"])
def test_the_box_losses_are_zero_at_the_truth_and_pull_towards_it(box_loss, box_pooling):
    task = task_of("localizer", alpha=0.0, box_loss=box_loss, box_pooling=box_pooling, dropout=0.0)
    batch = make_batch(task)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    truth = to_fractions(batch.target.boxes[:, 0], 64, 64)
    np.testing.assert_allclose(BOX_LOSSES[box_loss](truth, truth), np.zeros(ROWS), atol=1e-5)
    assert float(jnp.min(BOX_LOSSES[box_loss](truth + 0.1, truth))) > 1e-4
    gradients = jax.jit(jax.grad(lambda p: task.loss(p, state, batch, jax.random.key(0), True)[0].value()))(params)
    assert any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients["box_head"]))
    assert not any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients["class_head"]))
