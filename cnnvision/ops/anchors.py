"""Anchors: boxes at each position of a feature map, from which objects are regressed (Ren et al. 2015, section 3.1.1).

Order of everything that is one long list: maps from the finest to the coarsest, their positions row by row, the anchors of a
position one after the other.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def anchors_at(sizes: Sequence[float], ratios: Sequence[float]) -> Float[np.ndarray, "a 4"]:
    """The anchors of one position, about its centre.

    Args:
        sizes: square roots of their areas, input pixels.
        ratios: height / width.

    Returns:
        float32 [ratios · sizes, 4] x1 y1 x2 y2, the sizes of one ratio next to each other; corners on whole pixels, as in
        the published code and all that follow it.
    """
    ratios = np.sqrt(np.asarray(ratios, np.float32))[:, None]
    sizes = np.asarray(sizes, np.float32)[None]
    heights, widths = (sizes * ratios).ravel(), (sizes / ratios).ravel()
    return np.round(np.stack([-widths, -heights, widths, heights], axis=1) / np.float32(2.0))


def grid(
    anchors: Float[np.ndarray, "a 4"], positions: tuple[int, int], strides: tuple[int, int]
) -> Float[np.ndarray, "_ 4"]:
    """The anchors of every position of a feature map.

    Args:
        anchors: those of one position, about its centre.
        positions: (height, width) of the feature map.
        strides: input pixels from one position to the next, down and to the right; the first lies at (0, 0), the corner of
            the image.

    Returns:
        float32 [height · width · a, 4] x1 y1 x2 y2, input pixels: row by row, all anchors of a position next to each other.
        Some reach beyond the image.
    """
    y, x = (np.arange(count, dtype=np.float32) * stride for count, stride in zip(positions, strides, strict=True))
    corners = np.stack(np.broadcast_arrays(x[None, :], y[:, None], x[None, :], y[:, None]), axis=-1)
    return (corners[:, :, None] + anchors[None, None]).reshape(-1, 4).astype(np.float32)


def anchors_of_maps(
    features: Mapping[int, Array], size: tuple[int, int], sizes: Sequence[Sequence[float]], ratios: Sequence[float]
) -> list[Float[np.ndarray, "_ 4"]]:
    """The anchors of each map, x1 y1 x2 y2 in input pixels.

    Args:
        features: stride -> map [b, height, width, c].
        size: (height, width) of the input, pixels. As in torchvision, neighbouring positions are ⌊side / positions⌋ pixels
            from each other: the stride, where it divides the side.
        sizes: of each map from the finest on, square roots of the areas of its anchors, input pixels.
        ratios: height / width.
    """
    shapes = [features[stride].shape[1:3] for stride in sorted(features)]
    steps = [(size[0] // rows, size[1] // columns) for rows, columns in shapes]
    return [grid(anchors_at(of, ratios), shape, step) for of, shape, step in zip(sizes, shapes, steps, strict=True)]


def in_image(boxes: Float[Array, "n 4"], size: Int[Array, "2"]) -> Bool[Array, "n"]:
    """Which boxes (x1 y1 x2 y2, input pixels) have their centre in the image of `size` (height, width)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    return jnp.all(centres < size[None, ::-1].astype(jnp.float32), axis=1)


def best_of_each(scores: Float[Array, "n"], counts: Sequence[int], most: int) -> list[tuple[Array, Array]]:
    """(scores, indices among all n), the best first, of the `most` best of each map; `counts` of the n lie on each map."""
    found, start = [], 0
    for count in counts:
        best, index = lax.top_k(scores[start : start + count], min(most, count))
        found.append((best, index + start))
        start += count
    return found


def concatenated(outputs: Sequence[Float[Array, "b _ _ _"]], *last: int) -> Float[jax.Array, "b n *last"]:
    """What a head gives at each position of each map, the finest first, in the anchors' order, float32.

    Args:
        outputs: of each map [b, height, width, anchors · numbers].
        last: shape of one anchor's numbers; none where there is one.
    """
    return jnp.concatenate([each.astype(jnp.float32).reshape(each.shape[0], -1, *last) for each in outputs], axis=1)
