"""Arithmetic of boxes. Boxes are float32 x1 y1 x2 y2, continuous pixels, unless a name says otherwise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnvision.ops.division import divide


def area(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Square pixels; 0 for a box whose corners are flipped."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def ordered(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """The same boxes with x1 <= x2 and y1 <= y2, whichever corners a regression gave."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([jnp.minimum(first, second), jnp.maximum(first, second)], axis=-1)


def _intersection(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    return area(jnp.concatenate([jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], axis=-1))


def _divide(numerator: Float[Array, "*n"], denominator: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """0 where the denominator is not positive, with a gradient of 0 there (not NaN)."""
    positive = denominator > 0
    return jnp.where(positive, divide(numerator, jnp.where(positive, denominator, 1.0)), 0.0)


def iou(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Intersection over union of each box of `a` with the box of `b` at the same place, in [0, 1].

    Two boxes without area have an IoU of 0, also where they are equal.
    """
    intersection = _intersection(a, b)
    return _divide(intersection, area(a) + area(b) - intersection)


def giou(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Generalized IoU in (−1, 1]: IoU minus the share of the smallest enclosing box that neither covers.

    Rezatofighi et al. 2019, algorithm 1. Where the enclosing box has no area it is the IoU, 0.
    """
    intersection = _intersection(a, b)
    union = area(a) + area(b) - intersection
    corners = [jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])]
    enclosing = area(jnp.concatenate(corners, axis=-1))
    return _divide(intersection, union) - _divide(enclosing - union, enclosing)


def covered(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """The share of each box of `a` that the box of `b` at the same place covers; 0 for a box without area."""
    return _divide(_intersection(a, b), area(a))


def pairwise(
    measure: Callable[[jax.Array, jax.Array], jax.Array], a: Float[Array, "n 4"], b: Float[Array, "m 4"]
) -> Float[Array, "n m"]:
    """`iou`, `giou` or `covered` of each box of `a` with each box of `b`."""
    return jax.vmap(lambda one: measure(jnp.broadcast_to(one, b.shape), b))(a)


def to_fractions(boxes: Float[Array, "*n 4"], height: int, width: int) -> Float[Array, "*n 4"]:
    """x1 y1 x2 y2 in pixels -> (x, y, w, h): top left corner and sides, as fractions of the image's width and height."""
    sides = jnp.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
    return sides / jnp.broadcast_to(jnp.array([width, height, width, height], jnp.float32), boxes.shape)


def from_fractions(fractions: Float[Array, "*n 4"], height: int, width: int) -> Float[Array, "*n 4"]:
    """The inverse of `to_fractions`: (x, y, w, h) as fractions of the image -> x1 y1 x2 y2 in pixels."""
    corners = jnp.concatenate([fractions[..., :2], fractions[..., :2] + fractions[..., 2:]], axis=-1)
    return corners * jnp.broadcast_to(jnp.array([width, height, width, height], jnp.float32), fractions.shape)


def clip(boxes: Float[Array, "*n 4"], height: Float[Array, "*n"], width: Float[Array, "*n"]) -> Float[Array, "*n 4"]:
    """Moves each corner to the nearest point of its image, [0, width] × [0, height] pixels."""
    most = jnp.stack([width, height, width, height], axis=-1)
    return jnp.clip(boxes, 0.0, most)
