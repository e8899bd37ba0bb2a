"""Convolution and pooling as pure functions: NHWC images, HWIO kernels, one padding rule.

Padding is either "SAME", the rule of TensorFlow and XLA (an odd pixel of padding goes to the right and bottom), or "torch":
half the kernel on every side, whatever the stride. Both give ceil(size / stride) outputs for odd kernels, but at even sizes
and stride 2 they sample different pixels, so weights trained with one are wrong with the other.
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = Literal["SAME", "torch"]


def pads(size: int, kernel: int, stride: int, padding: Padding) -> tuple[int, int]:
    """(before, after): how many rows or columns are added along one axis of `size` pixels."""
    if padding == "torch":
        return kernel // 2, kernel // 2
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv(
    image: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], stride: int = 1, padding: Padding = "torch"
) -> Float[Array, "b _ _ o"]:
    """Cross-correlation, output [b, ceil(h / stride), ceil(w / stride), o] for odd kernels."""
    around = [pads(size, side, stride, padding) for size, side in zip(image.shape[1:3], kernel.shape[:2], strict=True)]
    return lax.conv_general_dilated(image, kernel, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(image: Float[Array, "b h w c"], size: int, stride: int, padding: Padding | int) -> Float[Array, "b _ _ c"]:
    """Largest value of each size x size window; what is padded never wins. An integer padding adds so much on every side."""
    around = [(padding, padding) if isinstance(padding, int) else pads(n, size, stride, padding) for n in image.shape[1:3]]
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(image, -jnp.inf, lax.max, window, strides, [(0, 0), *around, (0, 0)])
