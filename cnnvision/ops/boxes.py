"""Arithmetic of boxes. Boxes are float32 x1 y1 x2 y2, continuous pixels, unless a name says otherwise.

Boxes as regression targets, deltas: where a box lies and how large it is, relative to a reference (an anchor, a proposal).

    t_x = (x − x_r) / w_r    t_y = (y − y_r) / h_r    t_w = log(w / w_r)    t_h = log(h / h_r)

x, y are centres. Girshick et al. 2014, appendix C; Ren et al. 2015, equation 2. Targets are multiplied by weights, so that
they vary about as much as a class's logits do: (10, 10, 5, 5) in Fast R-CNN's published code, which normalises by standard
deviations of (0.1, 0.1, 0.2, 0.2).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnvision.ops.division import divide

Weights = tuple[float, float, float, float]

UNWEIGHTED: Weights = (1.0, 1.0, 1.0, 1.0)

MOST_GROWTH = math.log(1000.0 / 16.0)
"""A delta of more than this is taken for this much: before anything is learnt, exp would overflow (as in Detectron)."""


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
    """Intersection over union of each box of `a` with the box of `b` at the same index, in [0, 1].

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
    """The share of each box of `a` that the box of `b` at the same index covers; 0 for a box without area."""
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


def encode(
    boxes: Float[Array, "*n 4"], references: Float[Array, "*n 4"], weights: Weights = UNWEIGHTED
) -> Float[Array, "*n 4"]:
    """Boxes x1 y1 x2 y2 -> deltas (x, y, w, h), weighted; 0 where the box or its reference has no area."""
    (centre, sides), (from_centre, from_sides) = _centred(boxes), _centred(references)
    whole = jnp.all((sides > 0) & (from_sides > 0), axis=-1, keepdims=True)
    sides, from_sides = jnp.where(whole, sides, 1.0), jnp.where(whole, from_sides, 1.0)
    deltas = jnp.concatenate([(centre - from_centre) / from_sides, jnp.log(sides / from_sides)], axis=-1)
    return jnp.where(whole, deltas * _row(weights, deltas), 0.0)


def decode(
    deltas: Float[Array, "*n 4"], references: Float[Array, "*n 4"], weights: Weights = UNWEIGHTED
) -> Float[Array, "*n 4"]:
    """The inverse of `encode`: weighted deltas -> boxes x1 y1 x2 y2, in the references' pixels, not clipped to an image."""
    deltas = deltas.astype(jnp.float32) / _row(weights, deltas)
    from_centre, from_sides = _centred(references)
    centre = deltas[..., :2] * from_sides + from_centre
    half = 0.5 * jnp.exp(jnp.minimum(deltas[..., 2:], MOST_GROWTH)) * from_sides
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def _centred(boxes: Float[Array, "*n 4"]) -> tuple[Float[Array, "*n 2"], Float[Array, "*n 2"]]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides


def _row(weights: Weights, deltas: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    return jnp.broadcast_to(jnp.array(weights, jnp.float32), deltas.shape)
