"""RoIAlign: a box of any size becomes a fixed grid of bins, each the mean of bilinear samples; nothing is rounded.

He et al. 2017 ("Mask R-CNN"), section 3, sample by sample as torchvision's `roi_align` has it. Boxes of a feature pyramid
are pooled in one pass, each from its own level alone: the levels are laid out one after the other, as rows of channels.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from cnnvision import types
from cnnvision.ops.boxes import area
from cnnvision.ops.division import by_whole

CANONICAL_SIZE, CANONICAL_LEVEL = 224.0, 4
"""A box as large as ImageNet's inputs goes to the level of stride 2⁴."""


def level_of(boxes: Float[Array, "*n 4"], finest: int, coarsest: int, canonical: float = CANONICAL_SIZE) -> Int[Array, "*n"]:
    """Which level of a pyramid a box is pooled from: k = ⌊4 + log₂(√(w h) / 224)⌋, within the levels that there are (Lin et
    al. 2017, "Feature pyramid networks", equation 1).

    Args:
        boxes: x1 y1 x2 y2, input pixels.
        finest, coarsest: levels; level k has stride 2ᵏ.
        canonical: side of a box of level 4, input pixels; less than 224 where inputs are smaller than COCO's.
    """
    size = jnp.sqrt(area(boxes))
    # Boxes without area are of the finest level; the small number keeps exact powers of two on their side of the floor.
    ratio = jnp.maximum(size / canonical, 2.0**-30)
    level = jnp.floor(CANONICAL_LEVEL + jnp.log2(ratio) + 1e-6)
    return jnp.clip(level, finest, coarsest).astype(jnp.int32)


def roi_align(
    features: Float[Array, "h w c"],
    boxes: Float[Array, "r 4"],
    stride: int | float,
    size: int,
    samples: int | None = 2,
    aligned: bool = False,
) -> Float[Array, "r s s c"]:
    """Pools each box from one image's feature map. Differentiable in the features alone.

    Args:
        features: of stride `stride`.
        boxes: x1 y1 x2 y2, input pixels; they may reach beyond the image, or have no area.
        stride: input pixels from one position of the map to the next.
        size: bins along each side.
        samples: along each side of a bin; None for as many as the bin has positions, rounded up.
        aligned: whether position i of the map lies at (i + 1/2) · stride, as pixels do. False is the paper's published code,
            and torchvision's detectors: position i lies at i · stride, and a box covers at least one position.
    """
    h, w, c = features.shape
    filled = lambda value, kind: jnp.full(len(boxes), value, kind)
    maps = _Maps(filled(1.0 / stride, jnp.float32), filled(h, jnp.int32), filled(w, jnp.int32), filled(0, jnp.int32))
    return _align(features.reshape(-1, c), lax.stop_gradient(boxes), maps, size, samples, aligned)


def pyramid_roi_align(
    features: Mapping[int, Float[Array, "_ _ c"]],
    boxes: Float[Array, "r 4"],
    size: int,
    samples: int | None = 2,
    aligned: bool = False,
    canonical: float = CANONICAL_SIZE,
) -> Float[Array, "r s s c"]:
    """Pools each box from the level that FPN's equation 1 gives it (`level_of`).

    Args:
        features: maps of one image by stride, powers of two without a gap.
        boxes, size, samples, aligned: as for `roi_align`.
        canonical: see `level_of`.
    """
    strides = sorted(features)
    finest = strides[0].bit_length() - 1
    level = level_of(boxes, finest, strides[-1].bit_length() - 1, canonical) - finest
    shapes = [features[stride].shape for stride in strides]
    starts = [sum(h * w for h, w, _ in shapes[:i]) for i in range(len(shapes))]
    of_level = lambda values, kind: jnp.array(values, kind)[level]
    maps = _Maps(
        of_level([1.0 / stride for stride in strides], jnp.float32),
        of_level([h for h, _, _ in shapes], jnp.int32),
        of_level([w for _, w, _ in shapes], jnp.int32),
        of_level(starts, jnp.int32),
    )
    flat = jnp.concatenate([features[stride].reshape(-1, shapes[0][2]) for stride in strides])
    return _align(flat, lax.stop_gradient(boxes), maps, size, samples, aligned)


Corners = list[tuple[jax.Array, jax.Array]]
"""Rows of the table of positions, int32 [r, s, s], and their weights, float32 [r, s, s]."""


@struct.dataclass
class _Maps:
    """The map of each box, [r]: scale (positions a pixel), height, width, first row in the table of all positions."""

    scale: types.Array
    height: types.Array
    width: types.Array
    start: types.Array


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _align(
    flat: Float[Array, "p c"], boxes: Float[Array, "r 4"], maps: _Maps, size: int, samples: int | None, aligned: bool
) -> Float[Array, "r s s c"]:
    def add(pooled: jax.Array, corners: Corners) -> jax.Array:
        return sum((weight[..., None] * flat[position].astype(jnp.float32) for position, weight in corners), start=pooled)

    pooled = jnp.zeros((len(boxes), size, size, flat.shape[1]), jnp.float32)
    return _over_samples(add, pooled, boxes, maps, size, samples, aligned).astype(flat.dtype)


def _forward(flat: jax.Array, boxes: jax.Array, maps: _Maps, size: int, samples: int | None, aligned: bool):
    return _align(flat, boxes, maps, size, samples, aligned), (flat, boxes, maps)


def _backward(
    size: int, samples: int | None, aligned: bool, residuals: tuple[jax.Array, jax.Array, _Maps], gradient: jax.Array
):
    flat, boxes, maps = residuals
    gradient = gradient.astype(jnp.float32)

    def add(slopes: jax.Array, corners: Corners) -> jax.Array:
        for position, weight in corners:
            slopes = slopes.at[position.reshape(-1)].add((weight[..., None] * gradient).reshape(-1, gradient.shape[-1]))
        return slopes

    slopes = _over_samples(add, jnp.zeros(flat.shape, jnp.float32), boxes, maps, size, samples, aligned)
    return slopes.astype(flat.dtype), None, None


_align.defvjp(_forward, _backward)


def _over_samples(
    add: Callable[[jax.Array, Corners], jax.Array],
    total: jax.Array,
    boxes: Float[Array, "r 4"],
    maps: _Maps,
    size: int,
    samples: int | None,
    aligned: bool,
) -> jax.Array:
    """Adds the four corners of one sample of every bin, sample after sample."""
    corner = boxes * jnp.tile(maps.scale[:, None], 4) - (0.5 if aligned else 0.0)
    start, length = corner[:, 1::-1], corner[:, 3:1:-1] - corner[:, 1::-1]  # (y, x)
    length = length if aligned else jnp.maximum(length, 1.0)
    limits = jnp.stack([maps.height, maps.width], axis=1)
    counts = jnp.full(start.shape, samples) if samples else jnp.ceil(by_whole(length, size)).astype(jnp.int32)

    def corners(i: int | jax.Array, j: int | jax.Array) -> Corners:
        y, x = (
            bin_sample(start[:, axis], length[:, axis], limits[:, axis], counts[:, axis], number, size)
            for axis, number in enumerate((i, j))
        )
        row = lambda position: (maps.start[:, None] + position * maps.width[:, None])[:, :, None]
        return [(row(a) + b[:, None, :], u[:, :, None] * v[:, None, :]) for a, u in y for b, v in x]

    if samples:
        for i in range(samples):
            for j in range(samples):
                total = add(total, corners(i, j))
        return total
    rows, columns = jnp.max(counts[:, 0], initial=0), jnp.max(counts[:, 1], initial=0)
    step = lambda k, total: add(total, corners(k // columns, k % columns))
    return lax.fori_loop(0, rows * columns, step, total)


def bin_sample(
    start: jax.Array, length: jax.Array, limit: jax.Array, count: jax.Array, number: int | jax.Array, size: int
) -> list[tuple[Int[Array, "r s"], Float[Array, "r s"]]]:
    """One sample of every bin along one side: the positions before and after it, and their weights in the bin's mean.

    Within one position outside the map the nearest one counts; beyond that, none.
    """
    step = by_whole(length, size)[:, None]
    position = start[:, None] + jnp.arange(size, dtype=jnp.float32)[None, :] * step
    position += (jnp.float32(number) + 0.5) * step / count[:, None].astype(jnp.float32)
    last = (limit - 1)[:, None].astype(jnp.float32)
    inside = (position >= -1.0) & (position <= last + 1.0) & (number < count[:, None])
    share = jnp.where(inside, 1.0 / jnp.maximum(count, 1)[:, None].astype(jnp.float32), 0.0)
    position = jnp.clip(jnp.where(inside, position, 0.0), 0.0, last)
    low = jnp.floor(position)
    beyond = position - low
    high = jnp.minimum(low + 1.0, last)
    return [(low.astype(jnp.int32), share * (1.0 - beyond)), (high.astype(jnp.int32), share * beyond)]
