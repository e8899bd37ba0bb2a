"""What networks are made of: `Conv` and `Norm`, and `Backbone`, the base of what is built from them.

Parameters are float32, the arithmetic runs in `dtype`. A network is described by its tree alone: convolutions hold `kernel`
(and `bias`), norms hold `scale` and `bias`, and batch norms keep `mean` and `var` in the collection "batch_stats".
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float

from cnnvision.backbones.convolution import Padding, conv
from cnnvision.errors import ConfigError, nearest


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


def xavier_uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Glorot & Bengio 2010, equation 16: uniform, of variance 2 / (inputs + outputs). Kernel [h, w, i, o]."""
    most = math.sqrt(6.0 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
    # As one row, as in `normal`.
    return jax.random.uniform(key, (math.prod(shape),), dtype, -most, most).reshape(shape)


class Conv(nn.Module):
    """A convolution, [b, h, w, i] -> [b, h / stride, w / stride, features].

    Attributes:
        features: output channels.
        size: side of the kernel; odd, but for "VALID" and pixels.
        stride: distance between outputs, pixels.
        padding: "torch", "SAME", "VALID", or pixels on every side (backbones/convolution.py).
        dilation: spacing of the kernel's elements, pixels.
        use_bias: adds a bias; pointless before a norm.
        dtype: of the arithmetic and of the output.
        kernel_init, bias_init: the distributions that they are drawn from.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: Padding = "torch"
    dilation: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32
    kernel_init: Any = fan_out_normal
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, image: Float[Array, "b h w i"]) -> Float[Array, "b _ _ o"]:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, image.shape[-1], self.features))
        output = conv(image.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding, self.dilation)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
            output = output + bias.astype(self.dtype)[None, None, None]
        return output


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
    """
    pixels = image.shape[1] * image.shape[2]
    image = image.astype(jnp.float32)
    if valid is None:
        count = jnp.float32(len(image) * pixels)
    else:
        image = jnp.where(valid[:, None, None, None], image, 0.0)
        count = jnp.sum(valid, dtype=jnp.float32) * pixels
    inverse = 1.0 / jnp.maximum(count, 1.0)
    mean, square = jnp.sum(image, (0, 1, 2)) * inverse, jnp.sum(image * image, (0, 1, 2)) * inverse
    return count, mean, jnp.maximum(square - mean * mean, 0.0)


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


IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean red, green and blue of ImageNet's training images, in units of 0 ... 255."""
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Their standard deviations, in units of 0 ... 255."""


class Backbone(nn.Module):
    """Base of the backbones. A subclass defines ``__call__(image, train, valid=None) -> {stride: features}``.

    `image` is [b, h, w, 3], RGB, already (pixel - mean) / std; `train` selects the batch's statistics over the running
    ones; `valid` is bool [b], False for examples that only fill up the batch and must not enter any statistic (None: all
    are real). The map of stride s is [b, h / s, w / s, channels[s]] in `dtype`. Sides that are no multiple of the largest
    stride work too: each halving then rounds as its class says (up, or down for VGG).

    Class attributes:
        mean, std: of red, green and blue in units of 0 ... 255: what the image has to be normalised with.
        norms: the values of `norm` that the architecture knows, its own first.

    Attributes:
        dtype: of the arithmetic and of the features; parameters and statistics are always float32.
        norm: "batch", "frozen" (BatchNorm with fixed statistics, scale and bias, for pretrained weights and small batches),
            "group", or "none" where the architecture has none.
        frozen_stages: how many of the first `stages` are not trained: no gradient, and running statistics that stay.
    """

    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD
    norms: ClassVar[tuple[str, ...]] = ("batch", "frozen", "group")

    dtype: Any = jnp.float32
    norm: str = "batch"
    frozen_stages: int = 0

    def __post_init__(self):
        if self.norm not in self.norms:
            raise ConfigError(f"norm: {type(self).__name__} has no norm {self.norm!r}.{nearest(self.norm, self.norms)}")
        if self.frozen_stages not in range(len(self.stages) + 1):
            raise ConfigError(
                f"frozen_stages: {self.frozen_stages!r} must be from 0 to {len(self.stages)}: the stages of "
                f"{type(self).__name__} are {', '.join(self.stages)}"
            )
        super().__post_init__()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, from the image upwards: the top level of the parameter tree."""
        raise AttributeError(f"{type(self).__name__} must define stages")

    @property
    def channels(self) -> dict[int, int]:
        """Stride -> channels of its feature map, in increasing order of stride."""
        raise AttributeError(f"{type(self).__name__} must define channels")

    @property
    def frozen_epsilon(self) -> float | None:
        """What is added to the variances of frozen norms, where a config can set it; None where it cannot, or none is
        frozen."""
        return None

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides for which there are features, in increasing order."""
        return tuple(self.channels)

    @nn.nowrap
    def trainable(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The tree of `params` with a bool at each leaf: False in frozen stages, and for scale and bias of frozen norms."""

        def mask(node: Any, free: bool) -> Any:
            if not isinstance(node, Mapping):
                return free
            free = free and not (self.norm == "frozen" and "scale" in node)
            return {name: mask(child, free) for name, child in node.items()}

        frozen = self.stages[: self.frozen_stages]
        return {stage: mask(tree, stage not in frozen) for stage, tree in params.items()}

    @nn.nowrap
    def trains(self, stage: str, train: bool) -> bool:
        """Whether `stage` is to behave as in training: `train`, unless the stage is frozen."""
        return train and stage not in self.stages[: self.frozen_stages]

    @nn.nowrap
    def hold(self, stage: str, features: jax.Array) -> jax.Array:
        """The output of `stage`; no gradient goes back through it where the stage is frozen."""
        return lax.stop_gradient(features) if stage in self.stages[: self.frozen_stages] else features
