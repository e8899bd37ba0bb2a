"""Depthwise convolution against slow sums, for both ways in which it is computed, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnnvision.backbones import depthwise
from cnnvision.backbones.convolution import pads
from tests.backbones.test_convolution import PADDINGS, SHAPES, drawn, same_numbers, values_and_gradients
from tests.reference import convolution as reference

DEPTHWISE = {
    "shifted": lambda image, kernel, stride, padding: depthwise._shifted_depthwise_conv(
        image, kernel, stride, pads(image.shape[1:3], len(kernel), stride, padding)
    ),
    "grouped": lambda image, kernel, stride, padding: depthwise._grouped_conv(
        image, kernel, stride, pads(image.shape[1:3], len(kernel), stride, padding)
    ),
}


@pytest.mark.parametrize("way", DEPTHWISE)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("height", "width", "size", "stride"), SHAPES)
def test_depthwise_conv(height, width, size, stride, padding, way):
    image, kernel = drawn(2, height, width, 3), drawn(size, size, 1, 3)
    conv = lambda image, kernel: DEPTHWISE[way](image, kernel, stride, padding)
    output, gradients, gradient = values_and_gradients(conv, image, kernel)
    same_numbers((output, *gradients), reference.depthwise(image, kernel, stride, padding, gradient))


def test_depthwise_conv_in_bfloat16_sums_in_float32():
    """Twenty-five products of one sign: in bfloat16 the sum itself would lose whole percents."""
    image, kernel = (jnp.abs(drawn(*shape)).astype(jnp.bfloat16) for shape in ((2, 8, 8, 16), (5, 5, 1, 16)))
    output, gradients, gradient = values_and_gradients(depthwise.depthwise_conv, image, kernel)
    expected = reference.depthwise(image, kernel, 1, "torch", gradient)
    assert output.dtype == gradients[0].dtype == gradients[1].dtype == jnp.bfloat16
    for our, their in zip((output, *gradients), expected, strict=True):
        np.testing.assert_allclose(np.asarray(our, np.float64), their, rtol=2**-8, atol=2**-7)


def test_depthwise_conv_of_a_split_batch_sums_its_kernel_gradient_once():
    """One exchange of gradients, and none inside the loop over rows."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    image, kernel = drawn(16, 6, 6, 3), drawn(3, 3, 1, 3)
    loss = lambda kernel, image: jnp.sum(jnp.square(depthwise.depthwise_conv(image, kernel)))
    step = jax.jit(jax.grad(loss), in_shardings=(whole, split), out_shardings=whole)
    program = step.lower(kernel, image).compile().as_text()
    assert "while(" in program
    assert program.count(" all-reduce(") + program.count(" all-reduce-start(") == 1
    assert all(word not in program for word in ("all-gather", "collective-permute", "all-to-all"))
    np.testing.assert_allclose(step(kernel, image), jax.grad(loss)(kernel, image), rtol=1e-5, atol=1e-4)


def test_the_platform_chooses():
    """On a CPU the sums that are written out, in the primitive's place."""
    program = jax.jit(depthwise.depthwise_conv).lower(drawn(1, 6, 6, 2), drawn(3, 3, 1, 2)).as_text()
    assert "stablehlo.convolution" not in program
