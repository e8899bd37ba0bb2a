"""What accelerators compute in another way than CPUs do, on a CPU, against the same references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnvision.backbones import convolution
from cnnvision.ops import roi_pool
from cnnvision.ops.boxes import iou, pairwise
from cnnvision.ops.matching import match
from tests.backbones.test_convolution import PADDINGS, drawn, same_numbers, values_and_gradients
from tests.ops.drawn_boxes import whole_boxes
from tests.ops.test_roi import maps, regions
from tests.reference import boxes as box_reference
from tests.reference import convolution as convolution_reference
from tests.reference import roi as roi_reference


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    """Of each choice by platform, what is not for CPUs; and division as XLA's compiler for GPUs has it, some units off."""

    def divide(numerator, denominator):
        quotient = lax.div(numerator, denominator)
        bits = lax.bitcast_convert_type(quotient, jnp.int32)
        off = lax.bitcast_convert_type(bits + jnp.where(bits % 2 == 0, 2, -1), jnp.float32)
        return jnp.where(quotient == 0, quotient, off)

    monkeypatch.setattr(lax, "platform_dependent", lambda *arrays, default, **_: default(*arrays))
    monkeypatch.setattr(jnp, "divide", divide)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_of_one_pixel(stride, padding):
    image, kernel = drawn(2, 7, 8, 3), drawn(1, 1, 3, 4)
    conv = lambda image, kernel: convolution.conv(image, kernel, stride, padding)
    assert "stablehlo.dot" not in jax.jit(conv).lower(image, kernel).as_text()
    output, gradients, gradient = values_and_gradients(conv, image, kernel)
    same_numbers((output, *gradients), convolution_reference.full(image, kernel, stride, padding, gradient))


def test_roi_max_pooling(monkeypatch):
    monkeypatch.setattr(roi_pool, "LARGE_CHUNK", 20)
    rng = np.random.default_rng(0)
    features, boxes = maps(rng, 9, 13, 3), regions(rng, 51, 9 * 16, 13 * 16)
    found = jax.jit(lambda *arrays: roi_pool.roi_pool(*arrays, 16, 7))(jnp.array(features), jnp.array(boxes))
    np.testing.assert_array_equal(found, [roi_reference.roi_pool(features, box, 16, 7)[0] for box in boxes])


def test_an_iou_at_the_threshold():
    boxes, objects = (whole_boxes(np.random.default_rng(seed), 200) for seed in (0, 1))
    found = np.asarray(jax.jit(lambda *arrays: pairwise(iou, *arrays))(jnp.array(boxes), jnp.array(objects)))
    expected = np.array([[box_reference.iou(a, b) for b in objects] for a in boxes])
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert (found == 0.5).sum() > 50
    yes, half = jnp.ones(1, bool), (jnp.array([[0.0, 0, 4, 4]]), jnp.array([[0.0, 0, 4, 8]]))
    assert jax.jit(lambda *arrays: match(*arrays, 0.5, 0.5))(*half, yes, ~yes).positive.all()
