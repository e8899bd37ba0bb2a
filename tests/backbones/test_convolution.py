"""Convolutions and pooling against slow sums, for both ways in which each is computed, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import convolution
from tests.reference import convolution as reference

PADDINGS = ("torch", "SAME", "VALID", 1)
SHAPES = [(9, 8, 3, 1), (7, 6, 3, 2), (8, 11, 5, 2), (9, 7, 4, 1)]
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
    monkeypatch.setattr(convolution, "CHUNK", 24)
    monkeypatch.setattr(convolution, "FEW_PIXELS_ALONE", 0)
    monkeypatch.setattr(convolution, "FEW_CHANNELS", 0)
    monkeypatch.setattr(convolution, "FEW_PIXELS", 0)
    convolution.kernel_gradient.clear_cache()
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
    library = lambda image, kernel: convolution.library_conv(image, kernel, 1, ((1, 1), (1, 1)))
    expected, back = jax.vjp(library, image, kernel)
    for ours, theirs in zip((output, *gradients), (expected, *back(gradient)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (1, 7), (65, 33)])
def test_conv_of_one_pixel(inputs, outputs, stride, padding):
    """As a matrix product; a stride skips pixels."""
    image, kernel = drawn(2, 7, 8, inputs), drawn(1, 1, inputs, outputs)
    conv = lambda image, kernel: convolution.conv(image, kernel, stride, padding)
    output, gradients, gradient = values_and_gradients(conv, image, kernel)
    same_numbers((output, *gradients), reference.full(image, kernel, stride, padding, gradient))


POOLS = {
    "shifted": lambda image, size, stride, padding: convolution._shifted_max_pool(
        image, size, stride, convolution.pads(image.shape[1:3], size, stride, padding)
    ),
    "window": lambda image, size, stride, padding: convolution._reduce_window_max(
        image, size, stride, convolution.pads(image.shape[1:3], size, stride, padding)
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
    """On a CPU the maxima that are written out, in the primitive's place."""
    program = jax.jit(lambda image: convolution.max_pool(image, 2, 2)).lower(drawn(1, 6, 6, 2)).as_text()
    assert "stablehlo.reduce_window" not in program
