"""Convolution and pooling as pure functions: NHWC images, HWIO kernels, one padding rule.

Padding is "torch": half the kernel on every side, whatever the stride; or "SAME", the rule of TensorFlow and XLA: as little
as the stride needs, an odd pixel of it at the right and bottom; or "VALID": none. The first two give ceil(size / stride)
outputs for odd kernels, but at even sizes and stride 2 they sample different pixels: weights trained with one are wrong
with the other.

XLA's CPU backend is slow where it has no library kernel, by measured factors of 3 to 20: depthwise convolution, 1x1
convolution's weight gradient, max-pooling's gradient, gradients to kernels on large maps (kernel_gradients.py). The sums
written out here are the same sums (tests compare values and gradients), and `jax.lax.platform_dependent` keeps the
primitives for GPUs and TPUs.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnnvision.backbones.kernel_gradients import Around, dense_conv, library_conv

Padding = Literal["torch", "SAME", "VALID"]


def conv(
    image: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int = 1,
    padding: Padding = "torch",
    dilation: int = 1,
) -> Float[Array, "b _ _ o"]:
    """Cross-correlation of every channel with every channel; `dilation` is the distance of a kernel's taps, pixels."""
    around = _pads(image.shape, (kernel.shape[0] - 1) * dilation + 1, stride, padding)
    library = lambda image, kernel: library_conv(image, kernel, stride, around, dilation)
    if kernel.shape[:2] == (1, 1):
        cpu = lambda image, kernel: matrix_product(image[:, ::stride, ::stride], kernel[0, 0])
    elif stride == 1:
        cpu = lambda image, kernel: dense_conv(image, kernel, around, dilation)
    else:
        return library(image, kernel)
    # Elsewhere no matrix product: one of strided pixels ends XLA's compiler for GPUs (JAX 0.11.2).
    return lax.platform_dependent(image, kernel, cpu=cpu, default=library)


FEW_PIXELS, FEW_CHANNELS = 8 * 64, 64
"""A product of so many pixels at most, with so many channels on both sides at least, is written as a convolution."""


def matrix_product(image: Float[Array, "b h w i"], matrix: Float[Array, "i o"]) -> Float[Array, "b h w o"]:
    """Each pixel by a matrix; on CPUs, an image of 6x6 pixels or more gets the same bits whether one device has the whole
    batch or eight have a part of it.

    XLA's CPU backend adds up a wide product of fewer than about 64 rows in another order. Its convolution keeps to the order
    of a large product, and takes 1.3 to 1.7 times as long. (Products with a single channel out are of another kind.)
    """
    if math.prod(image.shape[:3]) > FEW_PIXELS or min(matrix.shape) < FEW_CHANNELS:
        return _product(image, matrix)
    return lax.platform_dependent(image, matrix, cpu=_product_as_convolution, default=_product)


def _product(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """In two dimensions: with four, XLA's gradient to the matrix begins by transposing the whole gradient image."""
    return (image.reshape(-1, image.shape[-1]) @ matrix).reshape(*image.shape[:3], -1)


@jax.custom_vjp  # the gradient to a convolution's kernel of one pixel is slow
def _product_as_convolution(image: jax.Array, matrix: jax.Array) -> jax.Array:
    return library_conv(image, matrix[None, None], 1, ((0, 0), (0, 0)))


def _product_as_convolution_fwd(image: jax.Array, matrix: jax.Array):
    return _product_as_convolution(image, matrix), (image, matrix)


def _product_as_convolution_bwd(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    return jax.vjp(_product, *residuals)[1](gradient)


_product_as_convolution.defvjp(_product_as_convolution_fwd, _product_as_convolution_bwd)


def depthwise_conv(
    image: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1, padding: Padding = "torch"
) -> Float[Array, "b _ _ c"]:
    """Cross-correlation of each channel with its own kernel."""
    around = _pads(image.shape, kernel.shape[0], stride, padding)
    return lax.platform_dependent(
        image,
        kernel,
        cpu=lambda image, kernel: _shifted_depthwise_conv(image, kernel, stride, around),
        default=lambda image, kernel: _grouped_conv(image, kernel, stride, around),
    )


def max_pool(image: Float[Array, "b h w c"], size: int, stride: int, padding: Padding = "VALID") -> Float[Array, "b _ _ c"]:
    """Largest value of each size x size window; padding never wins. Of equals, the first gets the gradient."""
    around = _pads(image.shape, size, stride, padding)
    return lax.platform_dependent(
        image,
        cpu=lambda image: _shifted_max_pool(image, size, stride, around),
        default=lambda image: _reduce_window_max(image, size, stride, around),
    )


def _pads(shape: tuple[int, ...], size: int, stride: int, padding: Padding) -> Around:
    """What `padding` adds around an image of [b, h, w, c] = `shape` under a window of `size`."""
    if padding == "torch":
        return ((size // 2, size // 2), (size // 2, size // 2))
    if padding == "VALID":
        return ((0, 0), (0, 0))
    missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in shape[1:3]]
    top, left = (pixels // 2 for pixels in missing)
    return ((top, missing[0] - top), (left, missing[1] - left))


def _grouped_conv(image: jax.Array, kernel: jax.Array, stride: int, around: Around) -> jax.Array:
    """Depthwise convolution by XLA's convolution."""
    layout = ("NHWC", "HWIO", "NHWC")
    groups = image.shape[-1]
    return lax.conv_general_dilated(
        image, kernel, (stride, stride), around, dimension_numbers=layout, feature_group_count=groups
    )


def _reduce_window_max(image: jax.Array, size: int, stride: int, around: Around) -> jax.Array:
    """Max-pooling by XLA's window reduction."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(image, -jnp.inf, lax.max, window, strides, [(0, 0), *around, (0, 0)])


def _shifts(padded: jax.Array, size: int, stride: int) -> Iterator[tuple[int, int, jax.Array]]:
    """(row, column, pixels [b, oh, ow, c]) of each position in a window: the pixels that lie there in every window."""
    b, h, w, c = padded.shape
    bottom, right = (h - size) // stride * stride + 1, (w - size) // stride * stride + 1
    for i in range(size):
        for j in range(size):
            yield i, j, lax.slice(padded, (0, i, j, 0), (b, i + bottom, j + right, c), (1, stride, stride, 1))


def _shifted_max_pool(image: jax.Array, size: int, stride: int, around: Around) -> jax.Array:
    """Max-pooling as size * size elementwise maxima."""
    lowest = jnp.array(-jnp.inf, image.dtype)
    padded = lax.pad(image, lowest, [(0, 0, 0), *((before, after, 0) for before, after in around), (0, 0, 0)])
    largest = None
    for _, _, pixels in _shifts(padded, size, stride):
        # Not jnp.maximum, which shares the gradient between equals; NaN still wins, as in XLA's maximum.
        largest = pixels if largest is None else jnp.where((pixels > largest) | jnp.isnan(pixels), pixels, largest)
    return largest


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_depthwise_conv(image: jax.Array, kernel: jax.Array, stride: int, around: Around) -> jax.Array:
    """Depthwise convolution as size * size multiply-adds, in float32."""
    padded = jnp.pad(image.astype(jnp.float32), ((0, 0), *around, (0, 0)))
    weights = kernel.astype(jnp.float32)
    output = sum(pixels * weights[i, j, None, None] for i, j, pixels in _shifts(padded, kernel.shape[0], stride))
    return output.astype(image.dtype)


def _shifted_depthwise_conv_fwd(image: jax.Array, kernel: jax.Array, stride: int, around: Around):
    return _shifted_depthwise_conv(image, kernel, stride, around), (image, kernel)


def _shifted_depthwise_conv_bwd(stride: int, around: Around, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    image, kernel = residuals
    size = kernel.shape[0]
    # A gradient with stride - 1 zeros between its pixels, correlated with the kernel turned by 180 degrees.
    edges = []
    for side, outputs, (before, _) in zip(image.shape[1:3], gradient.shape[1:3], around, strict=True):
        low = size - 1 - before
        edges.append((low, side + size - 1 - low - ((outputs - 1) * stride + 1), stride - 1))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    to_image = _shifted_depthwise_conv(spread, kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))
    return to_image, _depthwise_kernel_gradient(image, gradient, size, stride, around).astype(kernel.dtype)


COLUMNS = 16
"""How many columns of a gradient one compiled expression sums at most: it bounds what is compiled."""


@partial(jax.jit, static_argnums=(2, 3, 4))  # layers of one shape are traced once
def _depthwise_kernel_gradient(image: jax.Array, gradient: jax.Array, size: int, stride: int, around: Around) -> jax.Array:
    """float32 [size, size, 1, c]: sums of image times gradient.

    Sums over columns are written out as elementwise expressions on [b, c], which XLA's CPU backend turns into vector code
    that reads both images in place; its reductions would copy every shifted image, and take up to two and a half times as
    long.
    """
    b, rows, columns, c = gradient.shape
    parts = -(-columns // COLUMNS)
    width = -(-columns // parts)
    missing = parts * width - columns
    gradient = jnp.pad(gradient, ((0, 0), (0, 0), (0, missing), (0, 0)))
    padded = jnp.pad(image, ((0, 0), around[0], (around[1][0], around[1][1] + missing * stride), (0, 0)))

    def at(pixels: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        return lax.dynamic_slice(pixels, (0, row, column, 0), (b, 1, 1, c)).reshape(b, c).astype(jnp.float32)

    def add(totals: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
        y, left = part // parts, part % parts * width

        def products(position: jax.Array) -> jax.Array:
            i, j = position // size, position % size
            terms = [at(padded, y * stride + i, (left + x) * stride + j) * at(gradient, y, left + x) for x in range(width)]
            return _pairwise_sum(terms)

        # All weights of the kernel for one part of a row, while its pixels are in the cache.
        return totals + lax.map(products, jnp.arange(size * size)), None

    # One sum an example, so that a batch split over devices needs no exchange inside the loops.
    totals = lax.scan(add, jnp.zeros((size * size, b, c)), jnp.arange(rows * parts))[0]
    return jnp.sum(totals, 1).reshape(size, size, 1, c)


def _pairwise_sum(terms: list[jax.Array]) -> jax.Array:
    """The sum of all, by halves: the shortest chain of dependent additions, and the smallest rounding error."""
    while len(terms) > 1:
        terms = [*(a + b for a, b in zip(terms[::2], terms[1::2], strict=False)), *(terms[-1:] if len(terms) % 2 else [])]
    return terms[0]


_shifted_depthwise_conv.defvjp(_shifted_depthwise_conv_fwd, _shifted_depthwise_conv_bwd)
