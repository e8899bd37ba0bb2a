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


# Pixels -------------------------------------------------------------------------------------------------------------------


def pixels(count=60, k=5, seed=2):
    rng = np.random.default_rng(seed)
    return jnp.array(rng.normal(size=(count, k)) * 3, jnp.float32), jnp.array(rng.integers(0, k, count), jnp.int32)


def test_pixel_cross_entropy_is_cross_entropy():
    logits, labels = pixels()
    found, expected = losses.pixel_cross_entropy(logits, labels), losses.cross_entropy(logits, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    gradients = [
        jax.grad(lambda x, f=f: f(x, labels).sum())(logits) for f in (losses.pixel_cross_entropy, losses.cross_entropy)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-6)
    assert losses.pixel_cross_entropy(logits.astype(jnp.bfloat16), labels).dtype == jnp.float32


@pytest.mark.parametrize("loss", [losses.pixel_cross_entropy, losses.focal, lambda x, y: losses.focal(x, y, 0.5)])
def test_labels_outside_the_classes_lose_nothing(loss):
    logits, labels = pixels(4)
    labels = labels.at[:3].set(jnp.array([5, 255, -1]))
    value, gradient = loss(logits, labels), jax.grad(lambda x: loss(x, labels).sum())(logits)
    assert (np.asarray(value[:3]) == 0).all() and (np.asarray(gradient[:3]) == 0).all()
    assert value[3] > 0 and bool(jnp.any(gradient[3] != 0))


def test_focal_by_hand():
    """p = 1/4 of four equal classes: (3/4)² · log 4; p = 9/10: 0.1² · −log 0.9."""
    found = losses.focal(jnp.zeros((1, 4)), jnp.array([1]))
    assert float(found[0]) == pytest.approx(0.75**2 * np.log(4), rel=1e-6)
    logits = jnp.log(jnp.array([[0.1, 0.9]]))
    assert float(losses.focal(logits, jnp.array([1]))[0]) == pytest.approx(-0.01 * np.log(0.9), rel=1e-5)
    assert float(losses.focal(logits, jnp.array([0]), 1.0)[0]) == pytest.approx(-0.9 * np.log(0.1), rel=1e-5)
    nearly = losses.focal(jnp.array([[np.log(1e-4), np.log(1 - 1e-4)]], jnp.float32), jnp.array([1]), 0.5)
    assert float(nearly[0]) == pytest.approx(-0.01 * np.log(1 - 1e-4), rel=1e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_is_the_formula(gamma):
    logits, labels = pixels()
    p = np.exp([-reference_cross_entropy(row, label, 0.0) for row, label in zip(np.float64(logits), labels, strict=True)])
    np.testing.assert_allclose(losses.focal(logits, labels, gamma), -((1 - p) ** gamma) * np.log(p), rtol=1e-4, atol=1e-7)
    if gamma == 0:
        np.testing.assert_allclose(losses.focal(logits, labels, 0.0), losses.pixel_cross_entropy(logits, labels), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("certain", [5.0, 16.0, 17.0, 30.0, 1e4, -1e4])
def test_focal_has_a_gradient_where_the_network_is_certain(gamma, certain):
    value, gradient = jax.value_and_grad(lambda x: losses.focal(x, jnp.array([0]), gamma)[0])(jnp.array([[certain, 0.0]]))
    assert np.isfinite(value) and np.isfinite(gradient).all() and value >= 0
    assert gradient[0, 0] <= 0 <= gradient[0, 1]
    assert (certain > 0) == (value < 1)


def reference_dice(probabilities, labels, weights, c):
    """Of one image and class, pixel by pixel."""
    overlap = total = 0.0
    for p, label, weight in zip(probabilities, labels, weights, strict=True):
        truth = float(label == c)
        overlap += weight * p[c] * truth
        total += weight * (p[c] ** 2 + truth)
    return 1 - (2 * overlap + 1) / (total + 1)


def test_soft_dice_is_the_formula():
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.ones(4), (3, 50))
    labels, weights = rng.integers(0, 4, (3, 50)), rng.integers(0, 2, (3, 50)) * rng.uniform(0.5, 2, (3, 50))
    found = losses.soft_dice(
        jnp.array(probabilities, jnp.float32), jnp.array(labels, jnp.int32), jnp.array(weights, jnp.float32)
    )
    expected = [[reference_dice(probabilities[i], labels[i], weights[i], c) for c in range(4)] for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_soft_dice_by_hand():
    """Four pixels of class 0, all with p = 1/2: 1 − (2 · 2 + 1) / (1 + 4 + 1) for it, and 1 − 1 / (1 + 1) for the other."""
    found = losses.soft_dice(jnp.full((1, 4, 2), 0.5), jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4)))
    np.testing.assert_allclose(found, [[1 / 6, 1 / 2]], rtol=1e-6)


def test_soft_dice_of_right_and_wrong_maps():
    """Perfect: 0 for all classes, also for one that is neither there nor predicted. All wrong: nearly 1."""
    labels = jnp.arange(300, dtype=jnp.int32).reshape(1, 300) % 3
    perfect, ones = jax.nn.one_hot(labels, 4), jnp.ones((1, 300))
    np.testing.assert_allclose(losses.soft_dice(perfect, labels, ones), np.zeros((1, 4)), atol=1e-6)
    wrong = losses.soft_dice(perfect, (labels + 1) % 3, ones)
    np.testing.assert_allclose(wrong, [[1 - 1 / 201] * 3 + [0]], rtol=1e-6)


def test_soft_dice_does_not_see_pixels_without_weight():
    rng = np.random.default_rng(5)
    probabilities, other = (jnp.array(rng.dirichlet(np.ones(3), (2, 20)), jnp.float32) for _ in range(2))
    labels, weights = jnp.array(rng.integers(0, 3, (2, 20)), jnp.int32), jnp.array(rng.integers(0, 2, (2, 20)), jnp.float32)
    some = weights > 0
    changed = jnp.where(some[..., None], probabilities, other), jnp.where(some, labels, (labels + 1) % 3)
    dice = lambda p, g: losses.soft_dice(p, g, weights)
    np.testing.assert_array_equal(dice(probabilities, labels), dice(*changed))
    gradient = jax.grad(lambda p: dice(p, labels).sum())(probabilities)
    np.testing.assert_array_equal(np.asarray(gradient)[~np.asarray(some)], 0)
    np.testing.assert_array_equal(losses.soft_dice(probabilities, labels, jnp.zeros((2, 20))), np.zeros((2, 3)))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 0.5)])
def test_the_sigmoid_focal_loss_is_equation_5(alpha, gamma):
    """−α_t (1 − p_t)^γ log p_t, one logit at a time; with α = .5 and γ = 0 half of the binary cross entropy."""
    rng = np.random.default_rng(4)
    logits, targets = rng.normal(size=60) * 4, rng.integers(0, 2, 60)
    expected = []
    for logit, target in zip(logits, targets, strict=True):
        p = 1 / (1 + np.exp(-logit))
        p_t, alpha_t = (p, alpha) if target else (1 - p, 1 - alpha)
        expected.append(-alpha_t * (1 - p_t) ** gamma * np.log(p_t))
    arrays = jnp.array(logits, jnp.float32), jnp.array(targets, jnp.float32)
    np.testing.assert_allclose(losses.sigmoid_focal(*arrays, alpha, gamma), expected, rtol=1e-4, atol=1e-7)
    if gamma == 0:
        np.testing.assert_allclose(losses.binary_cross_entropy(*arrays) / 2, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_sigmoid_focal_loss_has_finite_slopes_where_it_is_sure(gamma):
    logits, targets = jnp.array([100.0, -100.0, 60.0, -60.0, 20.0]), jnp.array([1.0, 0.0, 0.0, 1.0, 1.0])
    value, slope = jax.value_and_grad(lambda x: losses.sigmoid_focal(x, targets, 0.25, gamma).sum())(logits)
    assert np.isfinite(value) and np.isfinite(slope).all() and float(value) == pytest.approx(60.0 * (0.75 + 0.25), rel=1e-5)
