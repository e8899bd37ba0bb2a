"""The box head: what it says before training, and that attention answers relative to positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.heads.box_regression import START, BoxRegressionHead, decode, position_offsets


@pytest.mark.parametrize("pooling", ["flatten", "attention"])
def test_an_untrained_head_answers_near_the_middle(pooling):
    head = BoxRegressionHead(pooling, channels=8)
    features = jax.random.normal(jax.random.key(0), (2, 4, 6, 5))
    variables = head.init(jax.random.key(1), features, False)
    answer = head.apply(variables, features, False)
    assert answer.shape == (2, 4) and answer.dtype == jnp.float32
    assert np.abs(np.asarray(answer) - np.array(START)).max() < 0.35


def test_position_offsets_by_hand():
    offsets = position_offsets(2, 4)
    np.testing.assert_allclose(offsets[0, 0], [-0.375, -0.25, 0, 0])
    np.testing.assert_allclose(offsets[1, 3], [0.375, 0.25, 0, 0])
    assert np.allclose(np.asarray(offsets).mean((0, 1)), 0)


def test_attention_moves_the_box_with_the_object():
    """One bright position, moved by two: with weights that attend to it alone the box moves by two positions."""
    head = BoxRegressionHead("attention", channels=1)
    features = lambda x: jnp.zeros((1, 5, 8, 1)).at[0, 2, x, 0].set(1.0)
    params = jax.tree.map(jnp.zeros_like, head.init(jax.random.key(0), features(0), False))["params"]
    params["narrow"]["kernel"] = params["narrow"]["kernel"].at[1, 1].set(1.0)
    params["weight"]["kernel"] = jnp.full((1, 1), 1000.0)
    params["box"]["bias"] = jnp.array([0.0, 0.0, 0.2, 0.1])
    first, second = (np.asarray(head.apply({"params": params}, features(x), False)[0]) for x in (2, 4))
    np.testing.assert_allclose(second - first, [2 / 8, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(first, [2.5 / 8 - 0.5, 0.0, 0.2, 0.1], atol=1e-6)


def test_decode_gives_pixels_inside_the_input():
    boxes = decode(jnp.array([[0.25, 0.5, 0.5, 0.25], [-1.0, -1.0, 9.0, 9.0]]), 100, 200)
    np.testing.assert_allclose(boxes, [[50, 50, 150, 75], [0, 0, 200, 100]])
