"""ops/losses.py against formulas written out one element at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops import losses
from tests.reference import boxes as reference_boxes


def reference_cross_entropy(logits, label, smoothing):
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    wanted = np.full(len(logits), smoothing / len(logits))
    wanted[label] += 1 - smoothing
    return -np.sum(wanted * np.log(probabilities))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy(smoothing):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 7)) * 4, rng.integers(0, 7, 50)
    expected = [reference_cross_entropy(row, label, smoothing) for row, label in zip(logits, labels, strict=True)]
    found = losses.cross_entropy(jnp.array(logits, jnp.float32), jnp.array(labels, jnp.int32), smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_cross_entropy_of_huge_logits_is_finite():
    logits = jnp.array([[1e4, -1e4], [-1e4, 1e4]])
    value, gradient = jax.value_and_grad(lambda x: losses.cross_entropy(x, jnp.array([0, 0])).sum())(logits)
    assert float(value) == pytest.approx(2e4)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_smooth_l1(beta):
    distances = [0.0, 0.05, beta / 2, beta, beta * 1.5, 30.0]
    for d in distances:
        expected = 0.5 * d * d / beta if d < beta else d - 0.5 * beta
        for sign in (-1, 1):
            found = losses.smooth_l1(jnp.array([[sign * d]], jnp.float32), jnp.zeros((1, 1)), beta)
            assert float(found[0]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_squared_error_is_a_mean_over_coordinates():
    found = losses.squared_error(jnp.array([[1.0, 2.0, 3.0, 4.0]]), jnp.array([[0.0, 0.0, 0.0, 0.0]]))
    assert float(found[0]) == pytest.approx(30 / 4)


def test_giou_loss_of_a_box_with_negative_sides_is_that_of_the_box_and_pulls():
    flipped, truth = jnp.array([[2.0, 2.0, 0.0, 0.0]]), jnp.array([[1.0, 1.0, 3.0, 3.0]])
    assert float(losses.giou_loss(flipped, truth)[0]) == float(losses.giou_loss(flipped[:, ::-1], truth)[0])
    assert bool(jnp.all(jax.grad(lambda box: losses.giou_loss(box, truth)[0])(flipped) != 0))


def test_giou_loss():
    a, b = (0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 3.0, 3.0)
    found = losses.giou_loss(jnp.array([a]), jnp.array([b]))
    assert float(found[0]) == pytest.approx(1 - reference_boxes.giou(a, b), rel=1e-6)
