"""RoI max pooling: a box of any size becomes a fixed grid of bins, each the maximum of what lies in it.

Girshick 2015, section 2.1, with the rounding of its published code, which torchvision's `roi_pool` shares: corners are
divided by the stride and rounded to positions of the map, both counted as inside; bin i of n begins at ⌊i · length / n⌋ and
ends before ⌈(i + 1) · length / n⌉, so that neighbours may overlap. A bin with no position in the map is 0.

The maximum over a rectangle of any size is that of a few squares-of-two rectangles that cover it: running maxima over
1, 2, 4 … rows and columns are laid out once for the map, and looked up.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cnnvision.ops.division import by_whole

Bins = tuple[jax.Array, jax.Array]
"""Of the bins along one side of each box: first positions and the ones after the last, int32 [r, size]."""


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def roi_pool(
    features: Float[Array, "h w c"], boxes: Float[Array, "r 4"], stride: int | float, size: int
) -> Float[Array, "r s s c"]:
    """Pools each box from one image's feature map. Differentiable in the features alone.

    Args:
        features: of stride `stride`.
        boxes: x1 y1 x2 y2, input pixels; they may reach beyond the image, or have no area.
        stride: input pixels from one position of the map to the next.
        size: bins along each side.
    """
    rows, columns = _bins(boxes, stride, size, features.shape)
    return _maxima(features, None, rows, columns)[0]


def _forward(features: jax.Array, boxes: jax.Array, stride: int | float, size: int):
    rows, columns = _bins(boxes, stride, size, features.shape)
    h, w, _ = features.shape
    indices = jnp.broadcast_to(jnp.arange(h * w, dtype=jnp.int32).reshape(h, w, 1), features.shape)
    pooled, chosen = _maxima(features, indices, rows, columns)
    return pooled, (features, chosen)


def _backward(stride: int | float, size: int, residuals: tuple[jax.Array, ...], gradient: jax.Array):
    """The whole gradient of a bin goes to its maximum, the first one row by row where there are several."""
    features, chosen = residuals
    h, w, c = features.shape
    # A bin without a position has the index h · w, which is none of the map's.
    flat = chosen.reshape(-1, c) * c + jnp.arange(c, dtype=jnp.int32)[None]
    # In float32: a position may be the maximum of a thousand bins, and bfloat16 counts to 256.
    slopes = jnp.zeros(h * w * c, jnp.float32).at[flat.ravel()].add(gradient.ravel().astype(jnp.float32), mode="drop")
    return slopes.reshape(h, w, c).astype(features.dtype), None


roi_pool.defvjp(_forward, _backward)


def _bins(boxes: Float[Array, "r 4"], stride: int | float, size: int, shape: tuple[int, ...]) -> tuple[Bins, Bins]:
    """Rows and columns of the bins. Arithmetic in float32, operation by operation that of the published code: an end that is
    whole in theory may come out a little larger, and its bin one position longer.
    """
    corners = boxes * jnp.float32(1.0 / stride)
    corners = (jnp.sign(corners) * jnp.floor(jnp.abs(corners) + 0.5)).astype(jnp.int32)
    index = jnp.arange(size, dtype=jnp.float32)[None, :]
    bins = []
    for first, last, most in ((corners[:, 1], corners[:, 3], shape[0]), (corners[:, 0], corners[:, 2], shape[1])):
        length = by_whole(jnp.maximum(last - first + 1, 1).astype(jnp.float32), size)
        start = jnp.floor(index * length[:, None]).astype(jnp.int32) + first[:, None]
        stop = jnp.ceil((index + 1.0) * length[:, None]).astype(jnp.int32) + first[:, None]
        bins.append((jnp.clip(start, 0, most), jnp.clip(stop, 0, most)))
    return bins[0], bins[1]


CHUNK, LARGE_CHUNK = 16, 512
"""Boxes that are pooled at a time: on a CPU so few that what is looked up stays in its cache; an accelerator wants work."""


def _maxima(
    features: Float[Array, "h w c"], indices: Int[Array, "h w c"] | None, rows: Bins, columns: Bins
) -> tuple[jax.Array, jax.Array | None]:
    """The maximum of each bin [r, s, s, c], and with `indices` where it lies."""
    h, w, c = features.shape
    count, size = rows[0].shape
    # Boxes within the image have no longer bins; for the others there are more look-ups.
    tops = [(-(-side // size) + 1).bit_length() - 1 for side in (h, w)]
    table = _running_maxima((features, indices), tops)
    look_up = lambda flat: jax.tree.map(lambda each: each[flat], table)

    def pool(bins: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array | None]:
        y, x = (_Cover(start, stop, top) for start, stop, top in zip(bins[:2], bins[2:], tops, strict=True))

        def at(i: int | jax.Array, j: int | jax.Array) -> tuple[jax.Array, jax.Array | None]:
            rows, columns = (y.level * (tops[1] + 1) * h + y.index(i)) * w, x.level * h * w + x.index(j)
            return look_up(rows[:, :, None] + columns[:, None, :])

        few = _larger(_larger(at(0, 0), at(0, 1)), _larger(at(1, 0), at(1, 1)))
        across = jnp.max(x.steps)
        more = lambda state: state[0] < jnp.max(y.steps) * across
        step = lambda state: (state[0] + 1, _larger(state[1], at(state[0] // across, state[0] % across)))
        begin = jnp.where(jnp.maximum(jnp.max(y.steps), across) > 2, 0, jnp.max(y.steps) * across)
        value, index = lax.while_loop(more, step, (begin, few))[1]
        empty = ((y.length <= 0)[:, :, None] | (x.length <= 0)[:, None, :])[..., None]
        return jnp.where(empty, 0, value), None if index is None else jnp.where(empty, h * w, index)

    def in_chunks_of(chunk: int, *bins: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        chunk = min(chunk, max(count, 1))
        chunks = -(-count // chunk)
        split = (jnp.pad(each, ((0, chunks * chunk - count), (0, 0))).reshape(chunks, chunk, size) for each in bins)
        pooled = lax.map(pool, tuple(split))
        return jax.tree.map(lambda each: each.reshape(-1, size, size, c)[:count], pooled)

    bins = (rows[0], columns[0], rows[1], columns[1])
    return lax.platform_dependent(*bins, cpu=partial(in_chunks_of, CHUNK), default=partial(in_chunks_of, LARGE_CHUNK))


class _Cover:
    """How bins [r, s] along one axis are covered by runs of 2^level positions, the last ones overlapping.

    Attributes: length: positions of each bin; level: of its runs, at most `top`; steps: how many runs it takes.
    """

    def __init__(self, start: jax.Array, stop: jax.Array, top: int):
        self.start, self.length = start, stop - start
        self.level = sum(((self.length >= 2**i).astype(jnp.int32) for i in range(1, top + 1)), jnp.zeros_like(start))
        self.run = jnp.left_shift(1, self.level)
        self.steps = -(-self.length // self.run)

    def index(self, step: int | jax.Array) -> jax.Array:
        """Where the run of a step begins: after the last one there is none, and the last one is given again."""
        return jnp.maximum(jnp.minimum(self.start + step * self.run, self.start + self.length - self.run), 0)


def _larger(a: tuple[jax.Array, jax.Array | None], b: tuple[jax.Array, jax.Array | None]) -> tuple[Any, Any]:
    """Of two values with their indices the larger one; of equal ones the one that comes first, row by row."""
    if a[1] is None:
        return jnp.maximum(a[0], b[0]), None
    second = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return jnp.where(second, b[0], a[0]), jnp.where(second, b[1], a[1])


def _running_maxima(pair: tuple[jax.Array, jax.Array | None], tops: list[int]) -> tuple[jax.Array, jax.Array | None]:
    """Values (and indices) [h, w, c] -> [levels · h · w, c]: for each level of rows and of columns the maximum over 2^i rows
    and 2^j columns from a position on (up to the map's end).
    """

    def doubled(pair: tuple[jax.Array, jax.Array | None], axis: int, run: int) -> tuple[Any, Any]:
        def shift(each: jax.Array) -> jax.Array:
            rest = lax.slice_in_dim(each, min(run, each.shape[axis] - 1), None, axis=axis)
            last = lax.slice_in_dim(each, each.shape[axis] - 1, None, axis=axis)
            missing = each.shape[axis] - rest.shape[axis]
            return jnp.concatenate([rest, *[last] * missing], axis=axis)

        return _larger(pair, jax.tree.map(shift, pair))

    levels = []
    for i in range(tops[0] + 1):
        pair = doubled(pair, 0, 2 ** (i - 1)) if i else pair
        wide = pair
        for j in range(tops[1] + 1):
            wide = doubled(wide, 1, 2 ** (j - 1)) if j else wide
            levels.append(wide)
    flat = lambda *each: jnp.stack(each).reshape(-1, each[0].shape[-1])
    return jax.tree.map(flat, *levels)
