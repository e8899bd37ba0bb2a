"""The norms: what enters their statistics, what moves them, and what they make of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnnvision.backbones.depthwise import DepthwiseConv
from cnnvision.backbones.layers import Conv, Norm, xavier_uniform

SHAPE = (4, 3, 5, 6)


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32) * 3 + 2


def variables(kind="batch", channels=SHAPE[-1]):
    """Parameters and running statistics that are all different from their initial values."""
    values = 0.5 + np.arange(4 * channels, dtype=np.float32).reshape(4, channels) / channels
    trees = {"params": {"scale": jnp.asarray(values[0]), "bias": jnp.asarray(values[1])}}
    return (
        trees
        if kind == "group"
        else trees | {"batch_stats": {"mean": jnp.asarray(values[2]), "var": jnp.asarray(values[3])}}
    )


def train(image, valid=None, **attributes):
    """(output, new statistics) of BatchNorm in training."""
    valid = None if valid is None else jnp.asarray(valid)
    output, state = Norm(**attributes).apply(variables(), jnp.asarray(image), True, valid, mutable=["batch_stats"])
    return np.asarray(output), state["batch_stats"]


def normalised(image, mean, var, epsilon=1e-5):
    scale, bias = (np.asarray(leaf) for leaf in variables()["params"].values())
    return (image - np.asarray(mean)) / np.sqrt(np.asarray(var) + epsilon) * scale + bias


def test_training_uses_the_batch_and_moves_the_running_statistics():
    image, before = drawn(*SHAPE), variables()["batch_stats"]
    output, after = train(image)
    mean, var, n = image.mean((0, 1, 2)), image.var((0, 1, 2)), image[..., 0].size
    np.testing.assert_allclose(output, normalised(image, mean, var), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * var * n / (n - 1), rtol=1e-5)


def test_momentum_is_the_share_of_the_new_and_epsilon_is_added():
    image, before = drawn(*SHAPE), variables()["batch_stats"]
    output, after = train(image, momentum=0.01, epsilon=0.5)
    np.testing.assert_allclose(after["mean"], 0.99 * before["mean"] + 0.01 * image.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(output, normalised(image, image.mean((0, 1, 2)), image.var((0, 1, 2)), 0.5), rtol=1e-4)


@pytest.mark.parametrize("filler", [0.0, 1e6, np.nan, np.inf])
def test_examples_that_fill_up_the_batch_change_nothing(filler):
    image = drawn(*SHAPE)
    output, after = train(image)
    padded = np.concatenate([image[:1], np.full_like(image[:3], filler), image[1:]])
    valid = np.array([True, False, False, False, True, True, True])
    padded_output, padded_after = train(padded, valid)
    np.testing.assert_allclose(padded_output[valid], output, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), padded_after, after)


def test_gradients_do_not_see_examples_that_fill_up_the_batch():
    image, weight = jnp.asarray(drawn(*SHAPE)), jnp.asarray(drawn(*SHAPE))
    filled, valid = jnp.concatenate([image, 100 + image]), jnp.arange(8) < 4

    def loss(params, image, valid):
        trees = {**variables(), "params": params}
        output, _ = Norm().apply(trees, image, True, valid, mutable=["batch_stats"])
        return jnp.sum(output[:4] * weight)

    gradient = jax.grad(loss, (0, 1))
    to_params, to_image = gradient(variables()["params"], image, None)
    filled_params, filled_image = gradient(variables()["params"], filled, valid)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), filled_params, to_params)
    np.testing.assert_allclose(filled_image[:4], to_image, rtol=1e-4, atol=1e-4)
    assert not filled_image[4:].any()


def test_no_valid_example_leaves_all_finite_and_the_statistics_alone():
    image, before = drawn(*SHAPE), variables()["batch_stats"]
    output, after = train(image, np.zeros(4, bool))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    np.testing.assert_allclose(output, normalised(image, before["mean"], before["var"]), rtol=1e-5, atol=1e-5)
    loss = lambda image: jnp.sum(
        jnp.square(Norm().apply(variables(), image, True, jnp.zeros(4, bool), mutable=["batch_stats"])[0])
    )
    assert np.isfinite(jax.grad(loss)(jnp.asarray(image))).all()


def test_one_pixel_has_no_unbiased_variance_and_stays_finite():
    output, after = train(drawn(1, 1, 1, 6))
    assert np.isfinite(output).all()
    np.testing.assert_allclose(after["var"], 0.9 * variables()["batch_stats"]["var"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "frozen"])
def test_evaluation_and_frozen_norms_use_the_running_statistics(kind):
    image, before = drawn(*SHAPE), variables()["batch_stats"]
    output, state = Norm(kind).apply(variables(), jnp.asarray(image), kind == "frozen", mutable=["batch_stats"])
    np.testing.assert_allclose(output, normalised(image, before["mean"], before["var"]), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], before)


def test_a_frozen_norm_passes_gradients_on_but_takes_none():
    image = jnp.asarray(drawn(*SHAPE))
    loss = lambda params, image: jnp.sum(jnp.square(Norm("frozen").apply({**variables(), "params": params}, image, True)))
    to_params, to_image = jax.grad(loss, (0, 1))(variables()["params"], image)
    assert not any(leaf.any() for leaf in jax.tree.leaves(to_params)) and to_image.all()


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (24, 8), (6, 2)])
def test_group_norm_is_that_of_each_example(channels, groups):
    """In 32 groups, or as many as divide both 32 and the channels."""
    image, trees = drawn(2, 3, 4, channels), variables("group", channels)
    output = Norm("group").apply(trees, jnp.asarray(image), True, jnp.array([True, False]))
    grouped = image.reshape(2, 12, groups, -1)
    mean, var = (function(grouped, (1, 3), keepdims=True) for function in (np.mean, np.var))
    expected = ((grouped - mean) / np.sqrt(var + 1e-5)).reshape(image.shape)
    expected = expected * np.asarray(trees["params"]["scale"]) + np.asarray(trees["params"]["bias"])
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    assert Norm("group").init(jax.random.key(0), jnp.asarray(image), True).keys() == {"params"}


def test_means_far_from_zero_cost_few_digits():
    """The one-pass variance: means of thirty deviations, and a constant channel, whose variance must not turn negative."""
    image = drawn(8, 16, 16, 6) / 3 + 30
    image[..., 0] = 1000.1
    output, _ = train(image)
    mean, var = image.mean((0, 1, 2), dtype=np.float64), image.var((0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(output[..., 1:], normalised(image, mean, var)[..., 1:], atol=2e-3)
    assert np.isfinite(output).all()


def test_bfloat16_keeps_its_statistics_in_float32():
    """4096 values near one: a sum in bfloat16 would stop growing at 256."""
    image = jnp.asarray(1 + 0.1 * drawn(16, 16, 16, 6), jnp.bfloat16)
    output, after = train(image, dtype=jnp.bfloat16)
    exact = np.asarray(image, np.float64)
    assert output.dtype == jnp.bfloat16 and after["mean"].dtype == after["var"].dtype == jnp.float32
    expected = 0.9 * np.asarray(variables()["batch_stats"]["mean"]) + 0.1 * exact.mean((0, 1, 2))
    np.testing.assert_allclose(after["mean"], expected, rtol=1e-5)
    expected = normalised(exact, exact.mean((0, 1, 2)), exact.var((0, 1, 2)))
    np.testing.assert_allclose(np.asarray(output, np.float64), expected, atol=0.04)


def test_initial_kernels_have_the_spread_of_he_et_al():
    """Standard deviation √(2 / (outputs · pixels)); of a depthwise kernel √(2 / pixels), its outputs being one a channel."""
    image = jnp.zeros((1, 8, 8, 64))
    kernel = Conv(96, 3).init(jax.random.key(0), image)["params"]["kernel"]
    assert kernel.shape == (3, 3, 64, 96) and abs(kernel.std() / np.sqrt(2 / (9 * 96)) - 1) < 0.02
    kernel = DepthwiseConv(5).init(jax.random.key(0), jnp.zeros((1, 8, 8, 512)))["params"]["kernel"]
    assert kernel.shape == (5, 5, 1, 512) and abs(kernel.std() / np.sqrt(2 / 25) - 1) < 0.02


def test_xavier_s_kernels_are_those_of_glorot_and_bengio():
    """As Flax's own, which draws from the same distribution: variance 2 / (pixels · (inputs + outputs)), and bounds."""
    shape = (3, 3, 64, 96)
    kernel, other = (init(jax.random.key(0), shape) for init in (xavier_uniform, nn.initializers.glorot_uniform()))
    most = np.sqrt(6 / (9 * (64 + 96)))
    for drawn_kernel in (kernel, other):
        assert drawn_kernel.shape == shape and abs(drawn_kernel.std() / (most / np.sqrt(3)) - 1) < 0.02
        assert 0.99 * most < jnp.abs(drawn_kernel).max() <= most * (1 + 1e-6)


def test_biases_start_where_they_are_told_to():
    image = jnp.zeros((1, 4, 4, 3))
    bias = lambda **options: Conv(5, use_bias=True, **options).init_with_output(jax.random.key(0), image)
    output, variables = bias(bias_init=nn.initializers.constant(-4.5))
    assert (variables["params"]["bias"] == -4.5).all() and (output == -4.5).all()
    assert not bias()[1]["params"]["bias"].any()
