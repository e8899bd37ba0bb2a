"""The arithmetic of losses and metrics: sums and counts, added before they are divided."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.task import Loss, Mean


def test_mean_ignores_what_has_no_weight():
    values = jnp.array([1.0, jnp.nan, 3.0, jnp.inf])
    weights = jnp.array([1.0, 0.0, 1.0, 0.0])
    assert float(Mean.of(values, weights).value()) == 2.0
    gradient = jax.grad(lambda v: Mean.of(v, weights).value())(values)
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5, 0.0])


def test_mean_of_nothing_is_zero_with_a_finite_gradient():
    nothing = jnp.zeros(3)
    value, gradient = jax.value_and_grad(lambda v: Mean.of(v, nothing).value())(jnp.ones(3))
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, nothing)


def test_merged_means_are_the_mean_of_everything():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=10).astype(np.float32), rng.uniform(size=10).astype(np.float32)
    parts = [Mean.of(jnp.array(values[part]), jnp.array(weights[part])) for part in (slice(0, 3), slice(3, 10))]
    assert float(parts[0].merge(parts[1]).value()) == pytest.approx(np.average(values, weights=weights), rel=1e-5)


def test_a_loss_reads_like_the_paper():
    Lc, Lr = Mean(jnp.float32(6.0), jnp.float32(3.0)), Mean(jnp.float32(10.0), jnp.float32(2.0))
    alpha = 0.25
    L = alpha * Lc + (1 - alpha) * Lr
    assert isinstance(L, Loss)
    assert float(L.value()) == 0.25 * 2.0 + 0.75 * 5.0
    assert float((Lc + Lr).value()) == 7.0
    assert float((2.0 * (Lc + Lr) + Lc).value()) == 16.0
    assert float(L.value([jnp.float32(6.0), jnp.float32(4.0)])) == 0.25 * 1.0 + 0.75 * 2.5


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        Mean.of(jnp.ones(3), jnp.ones((3, 1)))
