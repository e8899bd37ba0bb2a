"""Formulas of loss terms, one value an element. No weights, no sums over terms: those stand in a paper's own file."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnnvision.ops import boxes as box_ops


def cross_entropy(logits: Float[Array, "*n k"], labels: Int[Array, "*n"], smoothing: float = 0.0) -> Float[Array, "*n"]:
    """−Σ q log softmax(logits), in nats.

    Args:
        logits: any float dtype; computed in float32.
        labels: class ids in [0, k).
        smoothing: ε of label smoothing (Szegedy et al. 2016, section 7): q = (1 − ε)·one-hot + ε / k.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    picked = jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    return -(1.0 - smoothing) * picked - smoothing * jnp.mean(log_probabilities, axis=-1)


def squared_error(predictions: Float[Array, "*n d"], targets: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Mean over the last axis of (p − t)²."""
    return jnp.mean(jnp.square(predictions - targets), axis=-1)


def smooth_l1(predictions: Float[Array, "*n d"], targets: Float[Array, "*n d"], beta: float = 1.0) -> Float[Array, "*n"]:
    """Mean over the last axis of ½ d² / β where |d| < β, else |d| − β / 2 (Fast R-CNN, equation 3, where β = 1)."""
    distance = jnp.abs(predictions - targets)
    return jnp.mean(jnp.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta), axis=-1)


def giou_loss(predictions: Float[Array, "*n 4"], targets: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """1 − GIoU of boxes x1 y1 x2 y2 in any one unit, in [0, 2) (Rezatofighi et al. 2019, algorithm 2).

    A prediction's corners are put in order first (step 1): else a box of negative width would have no gradient.
    """
    return 1.0 - box_ops.giou(box_ops.ordered(predictions), targets)
