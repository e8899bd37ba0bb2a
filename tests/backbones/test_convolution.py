"""Convolutions and pooling against slow sums, for both ways in which each is computed, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnnvision.backbones import convolution, kernel_gradients
from tests.reference import convolution as reference

PADDINGS = ("torch", "SAME", "VALID")
SHAPES = [(9, 8, 3, 1), (7, 6, 3, 2), (8, 11, 5, 2)]
"""(height, width, side of the kernel, stride)"""


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def values_and_gradients(function, *arguments):
    """(output, gradients) under a drawn gradient of the output, and that gradient."""
    output, back = jax.vjp(jax.jit(function), *arguments)
    gradient = drawn(*output.shape).astype(output.dtype)
    return output, back(gradient), gradient


def same_numbers(ours, theirs, atol=2e-5):
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(our, np.float64), their, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("height", "width", "size", "stride"), SHAPES)
def test_conv(height, width, size, stride, padding):
    image, kernel = drawn(2, height, width, 3), drawn(size, size, 3, 4)
    conv = lambda image, kernel: convolution.conv(image, kernel, stride, padding)
    output, gradients, gradient = values_and_gradients(conv, image, kernel)
    same_numbers((output, *gradients), reference.full(image, kernel, stride, padding, gradient))


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("rows, devices", [(11, 1), (13, 8), (13, 1)])
def test_the_kernel_gradient_in_chunks_of_rows(size, dilation, rows, devices, monkeypatch):
    """A dilated kernel is one with zeros between its taps."""
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(kernel_gradients, "CHUNK", 24)
    monkeypatch.setattr(kernel_gradients, "FEW_PIXELS_ALONE", 0)
    monkeypatch.setattr(kernel_gradients, "FEW_CHANNELS", 0)
    monkeypatch.setattr(kernel_gradients, "FEW_PIXELS", 0)
    kernel_gradients.kernel_gradient.clear_cache()
    image, kernel = drawn(2, rows, 12, 3), drawn(size, size, 3, 4)
    conv = lambda image, kernel: convolution.conv(image, kernel, padding="VALID", dilation=dilation)
    output, (to_image, to_kernel), gradient = values_and_gradients(conv, image, kernel)
    spread = np.zeros(((size - 1) * dilation + 1,) * 2 + (3, 4))
    spread[::dilation, ::dilation] = kernel
    expected, expected_to_image, expected_to_kernel = reference.full(image, spread, 1, "VALID", gradient)
    same_numbers((output, to_image, to_kernel), (expected, expected_to_image, expected_to_kernel[::dilation, ::dilation]))


def test_the_kernel_gradient_on_a_large_map_is_the_librarys():
    image, kernel = drawn(2, 100, 97, 5), drawn(3, 3, 5, 20)
    output, gradients, gradient = values_and_gradients(convolution.conv, image, kernel)
    library = lambda image, kernel: kernel_gradients.library_conv(image, kernel, 1, ((1, 1), (1, 1)))
    expected, back = jax.vjp(library, image, kernel)
    for ours, theirs in zip((output, *gradients), (expected, *back(gradient)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_of_one_pixel(stride, padding):
    """As a matrix product; a stride skips pixels."""
    image, kernel = drawn(2, 7, 8, 3), drawn(1, 1, 3, 4)
    conv = lambda image, kernel: convolution.conv(image, kernel, stride, padding)
    output, gradients, gradient = values_and_gradients(conv, image, kernel)
    same_numbers((output, *gradients), reference.full(image, kernel, stride, padding, gradient))


PRODUCTS = [(8, 6, 96, 576), (8, 6, 672, 112), (16, 6, 96, 576), (8, 7, 320, 1280), (8, 6, 64, 64), (8, 16, 16, 16),
            (8, 12, 64, 1), (16, 8, 8, 3)]  # fmt: skip
"""(images, side, channels in, channels out)"""


@pytest.mark.parametrize("images, side, inputs, outputs", PRODUCTS)
def test_an_image_has_the_same_bits_wherever_the_batch_is_cut(images, side, inputs, outputs):
    image, matrix = drawn(images, side, side, inputs), drawn(inputs, outputs)
    product = jax.jit(convolution.matrix_product)
    whole = product(image, matrix)
    np.testing.assert_allclose(whole, np.float64(image) @ np.float64(matrix), atol=2e-4)
    for devices in (2, 8):
        mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
        split, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
        cut = jax.jit(convolution.matrix_product, in_shardings=(split, everywhere), out_shardings=split)
        np.testing.assert_array_equal(cut(image, matrix), whole)


DEPTHWISE = {
    "shifted": lambda image, kernel, stride, padding: convolution._shifted_depthwise_conv(
        image, kernel, stride, convolution._pads(image.shape, len(kernel), stride, padding)
    ),
    "grouped": lambda image, kernel, stride, padding: convolution._grouped_conv(
        image, kernel, stride, convolution._pads(image.shape, len(kernel), stride, padding)
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
    output, gradients, gradient = values_and_gradients(convolution.depthwise_conv, image, kernel)
    expected = reference.depthwise(image, kernel, 1, "torch", gradient)
    assert output.dtype == gradients[0].dtype == gradients[1].dtype == jnp.bfloat16
    for our, their in zip((output, *gradients), expected, strict=True):
        np.testing.assert_allclose(np.asarray(our, np.float64), their, rtol=2**-8, atol=2**-7)


def test_depthwise_conv_of_a_split_batch_sums_its_kernel_gradient_once():
    """One exchange of gradients, and none inside the loop over rows."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    image, kernel = drawn(16, 6, 6, 3), drawn(3, 3, 1, 3)
    loss = lambda kernel, image: jnp.sum(jnp.square(convolution.depthwise_conv(image, kernel)))
    step = jax.jit(jax.grad(loss), in_shardings=(whole, split), out_shardings=whole)
    program = step.lower(kernel, image).compile().as_text()
    assert "while(" in program
    assert program.count(" all-reduce(") + program.count(" all-reduce-start(") == 1
    assert all(word not in program for word in ("all-gather", "collective-permute", "all-to-all"))
    np.testing.assert_allclose(step(kernel, image), jax.grad(loss)(kernel, image), rtol=1e-5, atol=1e-4)


POOLS = {
    "shifted": lambda image, size, stride, padding: convolution._shifted_max_pool(
        image, size, stride, convolution._pads(image.shape, size, stride, padding)
    ),
    "window": lambda image, size, stride, padding: convolution._reduce_window_max(
        image, size, stride, convolution._pads(image.shape, size, stride, padding)
    ),
}


@pytest.mark.parametrize("way", POOLS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("height", "width", "size", "stride"), [(9, 8, 3, 2), (7, 6, 3, 1), (7, 4, 2, 2)])
def test_max_pool(height, width, size, stride, padding, way):
    """Of whole numbers, among which there are many equals; all negative, so that zeros of padding would win."""
    image = jnp.round(drawn(2, height, width, 3)) - 5
    pool = lambda image: POOLS[way](image, size, stride, padding)
    output, gradients, gradient = values_and_gradients(pool, image)
    same_numbers((output, *gradients), reference.max_pool(image, size, stride, padding, gradient), atol=1e-6)


@pytest.mark.parametrize("way", POOLS)
def test_max_pool_passes_nan_on(way):
    image = jnp.zeros((1, 4, 4, 1)).at[0, 1, 0].set(jnp.nan)
    output = POOLS[way](image, 2, 2, "VALID")[0, :, :, 0]
    assert np.isnan(output[0, 0]) and np.isnan(output).sum() == 1


def test_the_platform_chooses():
    """On a CPU the sums that are written out, in the primitives' place."""
    image, kernel = drawn(1, 6, 6, 2), drawn(3, 3, 1, 2)
    program = jax.jit(convolution.depthwise_conv).lower(image, kernel).as_text()
    assert "stablehlo.convolution" not in program
    program = jax.jit(lambda image: convolution.max_pool(image, 2, 2)).lower(image).as_text()
    assert "stablehlo.reduce_window" not in program
