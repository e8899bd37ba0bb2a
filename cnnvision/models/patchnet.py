"""A class for every pixel from the window around it (Ciresan, Giusti, Gambardella and Schmidhuber 2012, "Deep neural
networks segment neuronal membranes in electron microscopy images").

Section 2. A small network sees a square window and names the class of its central pixel: convolutions, each followed by 2×2
max-pooling, then a fully connected layer. Their N4 sees 95×95 pixels: 48 maps after kernels of 4, 5, 4 and 4 pixels, 200
hidden units. Windows that reach beyond the image are filled by mirroring it. Training draws equally many pixels of each
class (`samples`).

The same weights run in two ways.
    patches  window by window, as the paper trains and predicts. Neighbouring windows share nearly everything, and all of it
             is computed again.
    dense    all windows of an image at once, with the result of Giusti et al. 2013, "Fast image scanning with deep
             max-pooling convolutional neural networks" (who split each pooling into fragments): pooling has stride 1, and
             the layers after it are dilated (Li, Zhao and Wang 2014). Equal to "patches" up to rounding.

Deviations: ReLU units and He's initialisation; Adam or Muon in place of plain gradient descent; no foveation, no average of
several networks, no calibration and no median filter of the output; colour images; training on all pixels at once, without
balance of the classes, where `samples` is None, the default.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from cnnvision.backbones.convolution import max_pool
from cnnvision.backbones.layers import IMAGENET_MEAN, IMAGENET_STD, Conv
from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.models.binding import bind, named_sizes, normalized
from cnnvision.models.pixels import PixelFunctions, PixelSettings, pixel_inputs, pixel_task
from cnnvision.ops.images import per_image
from cnnvision.settings import Between, Count, Dtype, read
from cnnvision.task import DataInfo, Key, Task
from cnnvision.types import IGNORE, SemanticTarget


@dataclasses.dataclass(frozen=True)
class Settings(PixelSettings):
    """`config.model`; the default architecture is the paper's N4, trained on all pixels."""

    name: str = "patchnet"
    kernels: Annotated[tuple[int, ...], Between(1, 1024)] = (4, 5, 4, 4)  # sides; 2×2 max-pooling follows each
    window: Annotated[int, Between(1, 2047)] = 95  # pixels
    width: Annotated[int, Between(1, 4096)] = 48  # maps of each convolution
    hidden: Annotated[int, Between(1, 65536)] = 200  # units of the fully connected layer
    dtype: Dtype = "float32"
    samples: Count | None = None  # pixels drawn from each image in a step, each class as often (the paper); None for all
    run: Literal["dense", "patches"] = "dense"  # how it predicts; "patches": window by window, the same outputs
    chunk: Annotated[int, Between(1, 2**20)] = 1024  # windows of a batch at a time, for "patches"

    def __post_init__(self):
        if not self.kernels:
            raise ConfigError("kernels = (): must be sides of kernels, at least one")
        try:
            sides(self.window, self.kernels)
            if not self.window % 2:
                raise ValueError("an even window has no central pixel")
        except ValueError as error:
            near = [w for w in range(1, 2 * self.window + 256, 2) if _works(w, self.kernels)]
            near = sorted(sorted(near, key=lambda w: abs(w - self.window))[:2])
            raise ConfigError(f"window = {self.window}: {error}; with kernels {self.kernels} take "
                              f"{' or '.join(map(str, near)) or 'other kernels'}") from error  # fmt: skip


class PatchNet(nn.Module):
    """Attributes:
    classes: number of logits.
    kernels: side of each convolution's kernel; 2×2 max-pooling follows each.
    window: side of the window, pixels, odd.
    width: maps of each convolution.
    hidden: units of the fully connected layer.
    dtype: of the arithmetic.
    """

    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD

    classes: int
    kernels: Sequence[int] = (4, 5, 4, 4)
    window: int = 95
    width: int = 48
    hidden: int = 200
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "n _ _ 3"], dense: bool = True, train: bool = False) -> Float[Array, "n _ _ k"]:
        """Logits of the central pixels of windows.

        Args:
            image: normalised; whole mirrored images [n, h + window − 1, w + window − 1, 3], or windows, [n, window, window,
                3].
            dense: True for whole mirrored images (an output for each pixel), False for windows (one output each).
            train: has no effect, there being nothing random and no statistics.

        Returns:
            [n, h, w, classes], or of windows [n, 1, 1, classes].
        """
        dilation = 1  # distance of neighbours after the poolings so far, pixels
        for i, size in enumerate(self.kernels, 1):
            conv = Conv(
                self.width, size, padding="VALID", dilation=dilation, use_bias=True, dtype=self.dtype, name=f"conv{i}"
            )
            image = jax.nn.relu(conv(image))
            image = dilated_max_pool(image, dilation) if dense else max_pool(image, 2, 2)
            dilation = 2 * dilation if dense else 1
        side = sides(self.window, self.kernels)[-1]
        full = Conv(self.hidden, side, padding="VALID", dilation=dilation, use_bias=True, dtype=self.dtype, name="hidden")
        return SegmentationHead(self.classes, name="head")(jax.nn.relu(full(image)))


def sides(window: int, kernels: Sequence[int]) -> list[int]:
    """Side of the map after each convolution and its pooling, for a window of `window` pixels.

    Raises:
        ValueError: a pooling meets an odd side, or nothing is left.
    """
    found = []
    for size in kernels:
        window -= size - 1
        if window < 2 or window % 2:
            raise ValueError(f"a map of {window} pixels cannot be pooled two by two")
        window //= 2
        found.append(window)
    return found


def dilated_max_pool(image: Float[Array, "b h w c"], dilation: int) -> Float[Array, "b _ _ c"]:
    """2×2 max-pooling at every position: the largest of the four corners of a square of side `dilation`."""
    image = jnp.maximum(image[:, :-dilation], image[:, dilation:])
    return jnp.maximum(image[:, :, :-dilation], image[:, :, dilation:])


def mirrored(image: Float[Array, "b h w 3"], window: int) -> Float[Array, "b _ _ 3"]:
    """The image with half a window of its mirror image on each side."""
    half = window // 2
    return jnp.pad(image, ((0, 0), (half, half), (half, half), (0, 0)), mode="reflect")


def windows_at(image: Float[Array, "h w 3"], pixels: Int[Array, "n 2"], window: int) -> Float[Array, "n p p 3"]:
    """The windows around pixels (row, column) of one mirrored image."""
    return jax.vmap(lambda at: lax.dynamic_slice(image, (*at, jnp.zeros_like(at[0])), (window, window, 3)))(pixels)


def draw_pixels(
    key: Key, labels: UInt8[Array, "h w"], classes: int, count: int
) -> tuple[Int[Array, "n 2"], Bool[Array, "n"]]:
    """Pixels of one image, drawn without replacement, equally many of each class in expectation (section 2), as long as the
    rarest class has many more pixels than are drawn.

    Args:
        key: of this image and step.
        labels: class ids; IGNORE is never drawn.
        count: how many.

    Returns:
        int32 [count, 2] (row, column); bool [count], False where there were fewer pixels than that.
    """
    flat = labels.reshape(-1).astype(jnp.int32)
    counts = jnp.sum(jax.nn.one_hot(flat, classes), axis=0)
    # Gumbel top-k: draws without replacement, with probabilities proportional to 1 / (pixels of the class).
    rarity = -jnp.log(jnp.maximum(counts, 1.0))[jnp.minimum(flat, classes - 1)]
    score = jnp.where(flat == IGNORE, -jnp.inf, rarity + jax.random.gumbel(key, flat.shape))
    best, index = lax.top_k(score, count)
    return jnp.stack([index // labels.shape[1], index % labels.shape[1]], axis=-1), jnp.isfinite(best)


def _check_sizes(data: Any, settings: Settings) -> None:
    for key, size in named_sizes(data):
        if min(size) <= settings.window // 2:
            raise ConfigError(f"{key}: {size} cannot be mirrored by half a window, {settings.window // 2} pixels; "
                              "take a larger size or a smaller config.model.window")  # fmt: skip
        if settings.samples and settings.samples > size[0] * size[1]:
            most = f"must be at most {size[0] * size[1]}, the pixels of {key} = {size}"
            raise ConfigError(f"config.model.samples = {settings.samples}: {most}")


def _works(window: int, kernels: Sequence[int]) -> bool:
    try:
        return bool(sides(window, kernels))
    except ValueError:
        return False


Logits = Callable[..., Array]
"""(images, dense=…) -> logits: the network with its parameters bound."""


def window_by_window(logits_of: Logits, image: Float[Array, "b h w 3"], window: int, chunk: int) -> Array:
    """Logits [b, h, w, k] of whole images, about `chunk` windows of the whole batch at a time, at least one of each image.

    The loop is over pixels, not over images: the batch may be split over devices.
    """
    b, height, width, _ = image.shape
    windows_per_image = min(max(1, chunk // b), height * width)
    pixels = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    missing = -len(pixels) % windows_per_image
    chunks = jnp.pad(pixels, ((0, missing), (0, 0))).reshape(-1, windows_per_image, 2)
    padded = mirrored(image, window)

    def of_chunk(pixels):
        windows = jax.vmap(lambda image: windows_at(image, pixels, window))(padded)
        return logits_of(windows.reshape(-1, *windows.shape[2:]), dense=False).reshape(b, windows_per_image, -1)

    found = jnp.moveaxis(lax.map(of_chunk, chunks), 0, 1)  # [b, chunks, windows_per_image, k]
    return found.reshape(b, height * width + missing, -1)[:, : height * width].reshape(b, height, width, -1)


def sampled(
    logits_of: Logits,
    image: Float[Array, "b h w 3"],
    target: SemanticTarget,
    key: Key,
    window: int,
    classes: int,
    count: int,
) -> tuple[Array, SemanticTarget]:
    """Logits [b, count, 1, k] of pixels drawn from each image, and their target."""

    def draw(key, image, target):
        pixels, drawn = draw_pixels(key, target.labels, classes, count)
        at = lambda plane: plane[pixels[:, 0], pixels[:, 1]]
        labels = jnp.where(drawn, at(target.labels), jnp.uint8(IGNORE))
        weights = None if target.weights is None else at(target.weights)[..., None]
        return windows_at(image, pixels, window), SemanticTarget(labels[..., None], weights)

    windows, drawn = per_image(draw, jax.random.split(key, len(image)), mirrored(image, window), target)
    logits = logits_of(windows.reshape(-1, *windows.shape[2:]), dense=False)
    return logits.reshape(len(image), count, 1, classes), drawn


def make_task(config: Any, info: DataInfo) -> Task:
    """The patch classifier as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size, resize and margin.
        info: the semantic classes.
    """
    settings, classes = read(Settings, config.model, "config.model"), len(info.semantic_classes)
    window = settings.window
    inputs = pixel_inputs(config.data, settings, info, reach=window // 2, stride=1)
    _check_sizes(config.data, settings)
    network = PatchNet(classes, settings.kernels, window, settings.width, settings.hidden, getattr(jnp, settings.dtype))
    images = normalized(network)
    init, apply = bind(network, lambda batch: (mirrored(images(batch)[0], window),))
    bound = lambda params: lambda image, dense: apply(params, {}, image, dense)[0]

    def training_logits(params, model_state, batch, key, train):
        # The loss of evaluation is over all pixels, unbalanced: it does not compare with that of samples.
        image, logits_of = images(batch)[0], bound(params)
        if train and settings.samples:
            return *sampled(logits_of, image, batch.target, key, window, classes, settings.samples), model_state
        return logits_of(mirrored(image, window), dense=True), batch.target, model_state

    def predict(params, model_state, valid):
        logits_of = bound(params)
        if settings.run == "dense":
            return lambda image: logits_of(mirrored(image, window), dense=True)
        return lambda image: window_by_window(logits_of, image, window, settings.chunk)

    return pixel_task(settings, info, inputs, PixelFunctions(images, init, training_logits, predict))
