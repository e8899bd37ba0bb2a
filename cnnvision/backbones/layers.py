"""The layers of every network here: `Conv`, `DepthwiseConv`, `Norm`. Parameters are float32, the arithmetic runs in `dtype`.

A network is told apart by its tree alone: convolutions hold `kernel` (and `bias`), norms hold `scale` and `bias`, and batch
norms keep `mean` and `var` in the collection "batch_stats".
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import Padding, conv, depthwise_conv
from cnnvision.ops.per_image import one_by_one


def normal(deviation: float) -> Callable[..., jax.Array]:
    """Initialiser that draws from a normal distribution around zero.

    As one row, then shaped: the numbers are the same, and XLA's CPU compiler takes 0.4 s for a kernel in place of 3 to 10.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init


def fan_out_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """He et al. 2015, section 2.2, backward case; what torchvision starts all its convolutions from. Kernel [h, w, i, o]."""
    return normal(math.sqrt(2.0 / (math.prod(shape[:-2]) * shape[-1])))(key, shape, dtype)


class Conv(nn.Module):
    """A convolution, [b, h, w, i] -> [b, h / stride, w / stride, features].

    Attributes:
        features: output channels.
        size: side of the kernel; odd, but for "VALID".
        stride: distance between outputs, pixels.
        padding: "torch", "SAME" or "VALID" (backbones/convolution.py).
        dilation: distance of the kernel's taps, pixels.
        use_bias: adds a bias; pointless before a norm.
        dtype: of the arithmetic and of the output.
        kernel_init: from which distribution the kernel is drawn.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: Padding = "torch"
    dilation: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32
    kernel_init: Any = fan_out_normal

    @nn.compact
    def __call__(self, image: Float[Array, "b h w i"]) -> Float[Array, "b _ _ o"]:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, image.shape[-1], self.features))
        output = conv(image.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding, self.dilation)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            output = output + bias.astype(self.dtype)[None, None, None]
        return output


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


class Norm(nn.Module):
    """Normalises each channel; statistics and their arithmetic are float32 whatever `dtype` is.

    "batch" (Ioffe & Szegedy 2015) normalises with the statistics of the valid examples where `train` is set, and moves the
    running ones towards them; with the running ones otherwise. "frozen" always uses the running statistics, and its scale
    and bias get no gradient. "group" (Wu & He 2018) normalises each example by itself, in 32 groups of channels or, where
    32 does not divide them, the greatest common divisor. "none" does nothing.

    Running statistics follow torch: `momentum` is the share of the *new* value, and the running variance is the unbiased one
    (n / (n - 1)), so that fine-tuning goes on as the pretrained weights were made. With no valid example in the batch the
    running statistics are used, and stay.

    Attributes:
        kind: see above.
        epsilon: added to the variance.
        momentum: share of the batch's statistics in the new running ones.
        dtype: of the output.
        scale_init: initial scale; zeros make a residual block start as the identity.
    """

    kind: str = "batch"
    epsilon: float = 1e-5
    momentum: float = 0.1
    dtype: Any = jnp.float32
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b h w c"]:
        if self.kind == "none":
            return image.astype(self.dtype)
        channels = image.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        if self.kind == "group":
            return _group_norm(image, scale, bias, math.gcd(32, channels), self.epsilon).astype(self.dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        mean, var = running_mean.value, running_var.value
        if self.kind == "frozen":
            scale, bias = lax.stop_gradient((scale, bias))
        elif train and not self.is_initializing():
            count, batch_mean, batch_var = _moments(image, valid)
            used = count > 0
            mean, var = jnp.where(used, batch_mean, mean), jnp.where(used, batch_var, var)
            share = jnp.where(used, jnp.float32(self.momentum), jnp.float32(0.0))
            unbiased = lax.stop_gradient(var) * (count / jnp.maximum(count - 1.0, 1.0))
            running_var.value += share * (unbiased - running_var.value)
            running_mean.value += share * (lax.stop_gradient(mean) - running_mean.value)
        factor = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        return (image.astype(jnp.float32) * factor[None, None, None] + shift[None, None, None]).astype(self.dtype)


def _moments(
    image: Float[Array, "b h w c"], valid: Bool[Array, "b"] | None
) -> tuple[Float[Array, ""], Float[Array, "c"], Float[Array, "c"]]:
    """(count of pixels, mean, biased variance) of each channel over all pixels of valid examples, float32.

    The variance is that of one pass, E[x²] - E[x]², as in Flax: two to three times as fast on a CPU as the sum of squared
    deviations, forward and backward. Where a mean is m deviations from zero it is exact to about m² · 1e-7.

    On CPUs, from maps of 6x6 pixels on, they are the same bits for any number of devices that divides the batch: a statistic
    that is off by one rounding would move activations across ReLU's kink, and a gradient by up to 1e-3 of its length.
    Elsewhere they are the plain sums.
    """
    pixels = image.shape[1] * image.shape[2]
    image = image.astype(jnp.float32)
    if valid is None:
        count = jnp.float32(len(image) * pixels)
    else:
        image = jnp.where(valid[:, None, None, None], image, 0.0)
        count = jnp.sum(valid, dtype=jnp.float32) * pixels
    sums = lax.platform_dependent(image, cpu=_sums_in_one_order, default=_sums)
    mean, square = sums * (1.0 / jnp.maximum(count, 1.0))
    return count, mean, jnp.maximum(square - mean * mean, 0.0)


def _sums(image: Float[Array, "b h w c"]) -> Float[Array, "2 c"]:
    """Sums of the values and of their squares."""
    return jnp.stack([jnp.sum(image, (0, 1, 2)), jnp.sum(image * image, (0, 1, 2))])


def _sums_in_one_order(image: Float[Array, "b h w c"]) -> Float[Array, "2 c"]:
    """The same; each device sums its own examples, one by one, and all of them add up all examples' sums in one order.

    Where rows can't be given to devices (more devices than divide the batch; inside `shard_map`), they are the plain sums.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and (len(image) % mesh.size or any(kind != AxisType.Auto for kind in mesh.axis_types)):
        return _sums(image)
    of_each = _sums_of_each(image)
    if not mesh.empty:
        of_each = lax.with_sharding_constraint(of_each, PartitionSpec(None, None, None))
    # Behind the barrier, the programs for one device and for many are the same.
    return jnp.sum(lax.optimization_barrier(of_each), 0)


@jax.custom_vjp  # the gradient needs no loop
def _sums_of_each(image: Float[Array, "b h w c"]) -> Float[Array, "b 2 c"]:
    """Of each example. Not of all at once: XLA's CPU backend cuts such sums into parts that depend on how many there are."""
    return one_by_one(lambda image: jnp.stack([jnp.sum(image, (0, 1)), jnp.sum(image * image, (0, 1))]), image)


def _sums_of_each_fwd(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _sums_of_each(image), image


def _sums_of_each_bwd(image: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    to_value, to_square = gradient[:, 0, None, None], gradient[:, 1, None, None]
    return (to_value + 2.0 * image * to_square,)


_sums_of_each.defvjp(_sums_of_each_fwd, _sums_of_each_bwd)


def _group_norm(
    image: Float[Array, "b h w c"], scale: Float[Array, "c"], bias: Float[Array, "c"], groups: int, epsilon: float
) -> Float[Array, "b h w c"]:
    """Group normalisation in float32 over (h, w, c / groups) of each example."""
    b, h, w, c = image.shape
    grouped = image.astype(jnp.float32).reshape(b, h, w, groups, c // groups)
    mean = jnp.mean(grouped, (1, 2, 4), keepdims=True)
    var = jnp.mean(jnp.square(grouped - mean), (1, 2, 4), keepdims=True)
    normal = ((grouped - mean) * lax.rsqrt(var + epsilon)).reshape(b, h, w, c)
    return normal * scale[None, None, None] + bias[None, None, None]
