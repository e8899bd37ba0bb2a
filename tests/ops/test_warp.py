"""ops/warp.py against a slow version, pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops.warp import warp
from tests.ops.drawn_boxes import random_boxes
from tests.reference import warp as reference


@pytest.mark.parametrize("context", [0, 2])
def test_warped_boxes_equal_the_reference(context):
    """Boxes inside, across the border, outside, without area; larger and smaller than the result."""
    rng = np.random.default_rng(context)
    image = rng.normal(size=(40, 60, 3)).astype(np.float32)
    boxes = np.concatenate([random_boxes(rng, 30) / 2, [[0, 0, 60, 40], [10, 10, 17, 17], [70, 50, 90, 90]]]).astype(
        np.float32
    )
    run = jax.jit(lambda image, boxes: warp(image, jnp.array([40, 60]), boxes, 11, context, fill=9.0))
    found = np.asarray(run(image, boxes))
    for box, one in zip(boxes, found, strict=True):
        expected = reference.warp(image.astype(np.float64), box, 11, context, 9.0)
        edge = np.abs(one - expected).max(axis=2) > 1e-4
        # A sample exactly on the border may fall on either side of it by rounding.
        assert edge.sum() <= 11 and np.abs(one[~edge] - expected[~edge]).max(initial=0) <= 1e-4


def test_a_box_of_the_result_s_size_is_copied():
    image = np.random.default_rng(0).normal(size=(30, 30, 2)).astype(np.float32)
    found = warp(jnp.array(image), jnp.array([30, 30]), jnp.array([[5.0, 7, 17, 19]]), 16, context=2)
    np.testing.assert_allclose(found[0], image[5:21, 3:19], atol=1e-6)


def test_padding_of_the_image_is_outside():
    image = np.ones((20, 20, 1), np.float32)
    found = warp(jnp.array(image), jnp.array([10, 14]), jnp.array([[0.0, 0, 20, 20]]), 20)
    expected = np.zeros((20, 20))
    expected[:10, :14] = 1
    np.testing.assert_array_equal(found[0, :, :, 0], expected)
