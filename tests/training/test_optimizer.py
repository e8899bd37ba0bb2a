"""Muon against the formulas of its authors, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.defaults import base
from cnnvision.training.optimizer import MUON_RMS, as_matrices, make_optimizer

RATE, DECAY = 0.5, 0.1


def muon(**changes):
    config = base().optimizer
    config.update(name="muon", schedule="constant", learning_rate=RATE, weight_decay=DECAY, momentum=0.9, **changes)
    return config


def orthogonalized(matrix):
    """Jordan et al. 2024: five steps of a quintic iteration, on the orientation with fewer rows than columns."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / np.linalg.norm(wide)
    for _ in range(5):
        product = wide @ wide.T
        wide = 3.4445 * wide + (-4.775 * product + 2.0315 * product @ product) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def reference(parameters, gradients, beta):
    """What Nesterov's momentum with bias corrections, orthogonalisation, decay and Liu et al.'s scale make of a matrix."""
    momentum = np.zeros_like(parameters)
    for t, gradient in enumerate(gradients, start=1):
        momentum = beta * momentum + (1 - beta) * gradient
        ahead = beta * momentum / (1 - beta ** (t + 1)) + (1 - beta) * gradient / (1 - beta**t)
        update = orthogonalized(ahead) * MUON_RMS * max(parameters.shape) ** 0.5
        parameters = parameters - RATE * (update + DECAY * parameters)
    return parameters


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (1, 1, 20, 6), (6, 20), (3, 2, 2, 2)])
def test_a_kernel_is_the_matrix_of_what_each_output_sums(shape):
    rng = np.random.default_rng(0)
    params = {"layer": {"kernel": rng.normal(size=shape).astype(np.float32)}}
    optimizer, _ = make_optimizer(muon(), 10, {"layer": {"kernel": True}})
    state, moved, gradients = optimizer.init(params), params, [rng.normal(size=shape).astype(np.float32) for _ in range(3)]
    for gradient in gradients:
        updates, state = optimizer.update({"layer": {"kernel": gradient}}, state, moved)
        moved = jax.tree.map(jnp.add, moved, updates)
    flat = lambda x: np.asarray(x, np.float64).reshape(-1, shape[-1])
    expected = reference(flat(params["layer"]["kernel"]), [flat(gradient) for gradient in gradients], 0.9)
    np.testing.assert_allclose(flat(moved["layer"]["kernel"]), expected, atol=2e-4)


def test_every_direction_of_a_gradient_counts_about_alike():
    """One direction is a thousand times as strong as the next; in the update they differ by less than a factor of two."""
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    gradient = {"kernel": jnp.asarray(u * np.geomspace(1, 0.05, 8) @ v.T, jnp.float32)}
    optimizer, _ = make_optimizer(muon(), 10, {"kernel": True})
    params = jax.tree.map(jnp.zeros_like, gradient)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    of_update = -u.T @ np.asarray(updates["kernel"]) @ v
    values = np.diag(of_update)
    assert values.max() < 2 * values.min() and np.abs(of_update - np.diag(values)).max() < 1e-4
    assert np.sqrt(np.mean(np.square(updates["kernel"]))) == pytest.approx(RATE * MUON_RMS, rel=0.2)


def test_vectors_and_depthwise_kernels_are_nadam_s():
    params = {"norm": {"scale": jnp.ones(4)}, "depthwise": {"kernel": jnp.ones((3, 3, 1, 4))}}
    read = as_matrices({**params, "dense": jnp.ones((2, 3))})
    assert read["norm"]["scale"] is None and read["depthwise"]["kernel"] is None and read["dense"] is not None
    config = muon()
    optimizer, _ = make_optimizer(config, 10, jax.tree.map(lambda leaf: True, params))
    expected = optax.nadamw(RATE, config.beta1, config.beta2, config.epsilon, weight_decay=0.0)  # decay is of matrices alone
    rng, states = np.random.default_rng(2), [optimizer.init(params), expected.init(params)]
    for _ in range(3):
        gradients = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
        (found, states[0]), (right, states[1]) = (
            each.update(gradients, state, params) for each, state in zip((optimizer, expected), states, strict=True)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, right)


def test_frozen_and_backbone_parameters():
    params = {"backbone": {"a": jnp.ones((4, 4)), "b": jnp.ones((4, 4))}, "head": jnp.ones((4, 4))}
    moves = {"backbone": {"a": True, "b": False}, "head": True}
    gradients = jax.tree.map(lambda leaf: jnp.asarray(np.random.default_rng(3).normal(size=leaf.shape), jnp.float32), params)
    optimizer, _ = make_optimizer(muon(backbone_factor=0.25), 10, moves)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert not np.asarray(updates["backbone"]["b"]).any()
    np.testing.assert_allclose(updates["backbone"]["a"], 0.25 * updates["head"], rtol=1e-5)


def test_an_unknown_optimizer_is_answered_with_the_nearest():
    config = muon()
    config.name = "moun"
    with pytest.raises(ConfigError, match="Did you mean 'muon'"):
        make_optimizer(config, 10, {})
