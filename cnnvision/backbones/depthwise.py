"""Depthwise convolution: each channel with a kernel of its own (the padding rule is convolution.py's).

XLA's CPU backend has no library kernel for it. On CPUs, for speed alone, it is therefore written out as shifted
multiply-adds, which are the same sums; GPUs and TPUs have XLA's grouped convolution.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from cnnvision.backbones.convolution import Around, Padding, pads, shifts
from cnnvision.backbones.layers import normal


class DepthwiseConv(nn.Module):
    """A convolution of each channel with a kernel of its own, without bias, [b, h, w, c] -> [b, h / stride, w / stride, c].

    Attributes: as in `Conv`. Its kernel is [size, size, 1, c], drawn with a fan-out of size * size.
    """

    size: int = 3
    stride: int = 1
    padding: Padding = "torch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
        kernel = self.param("kernel", normal(math.sqrt(2.0 / self.size**2)), (self.size, self.size, 1, image.shape[-1]))
        return depthwise_conv(image.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)


def depthwise_conv(
    image: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1, padding: Padding = "torch"
) -> Float[Array, "b _ _ c"]:
    """Cross-correlation of each channel with its own kernel."""
    around = pads(image.shape[1:3], kernel.shape[0], stride, padding)
    return lax.platform_dependent(
        image,
        kernel,
        cpu=lambda image, kernel: _shifted_depthwise_conv(image, kernel, stride, around),
        default=lambda image, kernel: _grouped_conv(image, kernel, stride, around),
    )


def _grouped_conv(image: jax.Array, kernel: jax.Array, stride: int, around: Around) -> jax.Array:
    """Depthwise convolution by XLA's convolution."""
    layout = ("NHWC", "HWIO", "NHWC")
    groups = image.shape[-1]
    return lax.conv_general_dilated(
        image, kernel, (stride, stride), around, dimension_numbers=layout, feature_group_count=groups
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_depthwise_conv(image: jax.Array, kernel: jax.Array, stride: int, around: Around) -> jax.Array:
    """Depthwise convolution as size * size multiply-adds, in float32."""
    padded = jnp.pad(image.astype(jnp.float32), ((0, 0), *around, (0, 0)))
    weights = kernel.astype(jnp.float32)
    output = sum(pixels * weights[i, j, None, None] for i, j, pixels in shifts(padded, kernel.shape[0], stride))
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
