"""Boxes as regression targets: where a box lies and how large it is, relative to a reference box (an anchor, a proposal).

    t_x = (x − x_r) / w_r    t_y = (y − y_r) / h_r    t_w = log(w / w_r)    t_h = log(h / h_r)

x, y are centres. Girshick et al. 2014, appendix C; Ren et al. 2015, equation 2. Targets are multiplied by weights, so that
they vary about as much as a class's logits do: (10, 10, 5, 5) in Fast R-CNN's published code, which normalises by standard
deviations of (0.1, 0.1, 0.2, 0.2).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = tuple[float, float, float, float]

UNWEIGHTED: Weights = (1.0, 1.0, 1.0, 1.0)

MOST_GROWTH = math.log(1000.0 / 16.0)
"""A delta of more than this is taken for this much: before anything is learnt, exp would overflow (as in Detectron)."""


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
