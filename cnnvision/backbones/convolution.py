"""Convolution and pooling as pure functions: NHWC images, HWIO kernels, one padding rule.

Padding is "torch": half the kernel on every side, whatever the stride; or "SAME", the rule of TensorFlow and XLA: as little
as the stride needs, an odd pixel of it at the right and bottom; or "VALID": none; or a number: so many pixels on every side.
The first two give ceil(size / stride) outputs for odd kernels, but at even sizes and stride 2 they sample different pixels:
weights trained with one are wrong with the other.

For speed alone, CPUs compute some of it in another form: XLA's CPU backend is slow, by measured factors of 2 to 20, where it
has no library kernel. These are the weight gradient of 1x1 convolutions, the kernel gradient on large maps, max-pooling's
gradient, and depthwise convolution (depthwise.py). They are the same sums (tests compare values and gradients), and
`jax.lax.platform_dependent` keeps XLA's own operations for GPUs and TPUs.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = Literal["torch", "SAME", "VALID"] | int
Around = tuple[tuple[int, int], tuple[int, int]]
"""Rows added (above, below) and columns added (left, right)."""


def conv(
    image: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    stride: int = 1,
    padding: Padding = "torch",
    dilation: int = 1,
) -> Float[Array, "b _ _ o"]:
    """Cross-correlation of every channel with every channel; `dilation` is the spacing of a kernel's elements, pixels."""
    around = pads(image.shape[1:3], (kernel.shape[0] - 1) * dilation + 1, stride, padding)
    library = lambda image, kernel: library_conv(image, kernel, stride, around, dilation)
    if kernel.shape[:2] == (1, 1) and not any(map(any, around)):
        cpu = lambda image, kernel: matrix_product(image[:, ::stride, ::stride], kernel[0, 0])
    elif stride == 1:
        cpu = lambda image, kernel: _dense_conv(image, kernel, around, dilation)
    else:
        return library(image, kernel)
    # Elsewhere no matrix product: one of strided pixels ends XLA's compiler for GPUs (JAX 0.11.2).
    return lax.platform_dependent(image, kernel, cpu=cpu, default=library)


def matrix_product(image: Float[Array, "b h w i"], matrix: Float[Array, "i o"]) -> Float[Array, "b h w o"]:
    """Each pixel times a matrix.

    In two dimensions: with four, XLA's gradient to the matrix begins by transposing the whole gradient image.
    """
    return (image.reshape(-1, image.shape[-1]) @ matrix).reshape(*image.shape[:3], -1)


def max_pool(image: Float[Array, "b h w c"], size: int, stride: int, padding: Padding = "VALID") -> Float[Array, "b _ _ c"]:
    """Largest value of each size x size window; padding never wins. Of equals, the first gets the gradient."""
    around = pads(image.shape[1:3], size, stride, padding)
    return lax.platform_dependent(
        image,
        cpu=lambda image: _shifted_max_pool(image, size, stride, around),
        default=lambda image: _reduce_window_max(image, size, stride, around),
    )


def pads(sides: tuple[int, int], size: int, stride: int, padding: Padding) -> Around:
    """Pixels that `padding` adds around an image of `sides` (height, width) for windows of `size` x `size`."""
    if padding == "torch":
        return ((size // 2, size // 2), (size // 2, size // 2))
    if padding == "VALID":
        return ((0, 0), (0, 0))
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in sides]
    top, left = (pixels // 2 for pixels in missing)
    return ((top, missing[0] - top), (left, missing[1] - left))


def library_conv(image: jax.Array, kernel: jax.Array, stride: int, around: Around, dilation: int = 1) -> jax.Array:
    """XLA's convolution of [b, h, w, i] with [k, k, i, o]."""
    layout, steps = ("NHWC", "HWIO", "NHWC"), (dilation, dilation)
    return lax.conv_general_dilated(image, kernel, (stride, stride), around, rhs_dilation=steps, dimension_numbers=layout)


FEW_CHANNELS = 16
"""With this many output channels or fewer, the kernel gradient of XLA's convolution is the faster one."""
FEW_PIXELS, FEW_PIXELS_ALONE = 64 * 64, 14 * 14
"""On maps with fewer pixels, too; the second holds where there is one device (with many, each example has its own sum)."""
CHUNK = 1024
"""About how many pixels are laid out as columns at a time."""


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _dense_conv(image: jax.Array, kernel: jax.Array, around: Around, dilation: int) -> jax.Array:
    """`library_conv` of stride 1, with `kernel_gradient` on large maps."""
    return library_conv(image, kernel, 1, around, dilation)


def _dense_conv_fwd(image: jax.Array, kernel: jax.Array, around: Around, dilation: int):
    return library_conv(image, kernel, 1, around, dilation), (image, kernel)


def _dense_conv_bwd(around: Around, dilation: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array):
    image, kernel = residuals
    library = lambda image, kernel: library_conv(image, kernel, 1, around, dilation)
    alone = jax.device_count() == 1
    few = FEW_PIXELS_ALONE if alone else FEW_PIXELS
    if gradient.shape[-1] <= FEW_CHANNELS or gradient.shape[1] * gradient.shape[2] < few:
        return jax.vjp(library, image, kernel)[1](gradient)
    # The transposed kernel is made by hand: XLA transposes to a convolution with a reversed window, for which there is
    # no library kernel inside a conditional (a batch of 64 images of 14×14×96: 75 ms in place of 40).
    reach = (len(kernel) - 1) * dilation
    back = tuple(tuple(reach - side for side in sides) for sides in around)
    to_image = library_conv(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 1, back, dilation)
    together = 1 if alone else len(image)
    return to_image, kernel_gradient(image, gradient, len(kernel), around, dilation, together).astype(kernel.dtype)


_dense_conv.defvjp(_dense_conv_fwd, _dense_conv_bwd)


@partial(jax.jit, static_argnums=(2, 3, 4, 5))  # layers of one shape are traced once
def kernel_gradient(
    image: jax.Array, gradient: jax.Array, size: int, around: Around, dilation: int, together: int
) -> jax.Array:
    """float32 [size, size, i, o]: the gradient to the kernel of a convolution of stride 1, as a sum of matrix products.

    XLA's CPU backend computes it as one convolution whose kernel is the whole gradient image. Here a few rows at a time, few
    enough to stay in the cache, are laid out as columns (im2col) and multiplied. Measured in turns on two x86 cores, medians
    in milliseconds, a batch of 8 (4 of the last): 128×128×32 channels 202 -> 83, 64×64×64 100 -> 61, 28×28×128 36 -> 30,
    256×256×24 950 -> 105.

    Args:
        image: [b, h, w, i].
        gradient: [b, rows, columns, o], to the convolution's output.
        size, around, dilation: of the convolution.
        together: examples laid out at a time, each with a sum of its own; divides b. All b where the batch may be split over
            devices, so that nothing is exchanged inside the loop; else 1, which needs the least memory.
    """
    b, rows, columns, o = gradient.shape
    at_once = min(rows, max(1, CHUNK // (columns * together)))
    parts = -(-rows // at_once)
    missing = parts * at_once - rows
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0)))
    padded = jnp.pad(image, ((0, 0), (around[0][0], around[0][1] + missing), around[1], (0, 0)))
    reach = (size - 1) * dilation

    def cut(array: jax.Array, index: jax.Array, height: int) -> jax.Array:
        corner = (index // parts * together, index % parts * at_once, 0, 0)
        return lax.dynamic_slice(array, corner, (together, height, *array.shape[2:]))

    def add(index: jax.Array, total: jax.Array) -> jax.Array:
        part = cut(padded, index, at_once + reach)
        offsets = [i * dilation for i in range(size)]
        shifted = [part[:, i : i + at_once, j : j + columns] for i in offsets for j in offsets]
        as_columns = jnp.concatenate(shifted, axis=-1).reshape(together, at_once * columns, -1)
        gradients = cut(gradient, index, at_once).reshape(together, at_once * columns, o)
        product = lax.dot_general(gradients, as_columns, (((1,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32)
        return total + product

    zero = jnp.zeros((together, o, size * size * image.shape[-1]), jnp.float32)
    zero += 0.0 * gradient[0, 0, 0, 0].astype(zero.dtype)  # it varies over devices where the gradient does
    total = lax.fori_loop(0, b // together * parts, add, zero)
    return jnp.sum(total, 0).T.reshape(size, size, image.shape[-1], o)


def _reduce_window_max(image: jax.Array, size: int, stride: int, around: Around) -> jax.Array:
    """Max-pooling by XLA's window reduction."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(image, -jnp.inf, lax.max, window, strides, [(0, 0), *around, (0, 0)])


def shifts(padded: jax.Array, size: int, stride: int) -> Iterator[tuple[int, int, jax.Array]]:
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
    for _, _, pixels in shifts(padded, size, stride):
        # Not jnp.maximum, which shares the gradient between equals; NaN still wins, as in XLA's maximum.
        largest = pixels if largest is None else jnp.where((pixels > largest) | jnp.isnan(pixels), pixels, largest)
    return largest
