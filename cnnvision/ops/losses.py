"""Formulas of loss terms, one value an element. No weights, no sums over terms: those stand in a paper's own file."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnnvision.ops import boxes as box_ops
from cnnvision.ops.boxes import UNWEIGHTED, Weights, encode


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


def delta_loss(
    deltas: Float[Array, "n 4"],
    boxes: Float[Array, "n 4"],
    references: Float[Array, "n 4"],
    positive: Bool[Array, "n"],
    beta: float,
    weights: Weights = UNWEIGHTED,
) -> Float[Array, "n"]:
    """Smooth L1, summed over the four deltas, of predicted deltas and those that move a reference onto its object's box.

    Args:
        deltas: predicted, weighted.
        boxes, references: x1 y1 x2 y2, in one unit; constants of the loss.
        positive: references that stand for an object; the others cost nothing.
        beta: of `smooth_l1`.
        weights: of the deltas (ops/boxes.py).
    """
    targets = lax.stop_gradient(encode(boxes, references, weights))
    return jnp.where(positive, 4.0 * smooth_l1(deltas, targets, beta), 0.0)


def giou_loss(predictions: Float[Array, "*n 4"], targets: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """1 − GIoU of boxes x1 y1 x2 y2 in any one unit, in [0, 2) (Rezatofighi et al. 2019, algorithm 2).

    A prediction's corners are put in order first (step 1): else a box of negative width would have no gradient.
    """
    return 1.0 - box_ops.giou(box_ops.ordered(predictions), targets)


def pixel_cross_entropy(logits: Float[Array, "*n k"], labels: Int[Array, "*n"]) -> Float[Array, "*n"]:
    """`cross_entropy` for many elements and few classes: picks by comparing, not by a gather for each pixel.

    A label outside [0, k) picks nothing: its loss is 0.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(log_probabilities * jax.nn.one_hot(labels, logits.shape[-1]), axis=-1)


def focal(logits: Float[Array, "*n k"], labels: Int[Array, "*n"], gamma: float = 2.0) -> Float[Array, "*n"]:
    """−(1 − p)^γ log p of the true class's probability p (Lin et al. 2017, equation 4); 0 for labels outside [0, k)."""
    loss = pixel_cross_entropy(logits, labels)
    # 1 − p is 0 where the loss is, and 0^γ has no gradient there for γ < 1.
    return jnp.maximum(-jnp.expm1(-loss), 1e-7) ** gamma * loss


def sigmoid_focal(
    logits: Float[Array, "*n"], targets: Float[Array, "*n"], alpha: float = 0.25, gamma: float = 2.0
) -> Float[Array, "*n"]:
    """−α_t (1 − p_t)^γ log p_t, each logit by itself (Lin et al. 2017, "Focal loss", equation 5).

    Args:
        logits: of a class being there; any float dtype, computed in float32.
        targets: 1 where it is, else 0: p_t is the probability of what is true, α_t is α or 1 − α.
        alpha, gamma: the paper's.
    """
    logits, targets = logits.astype(jnp.float32), targets.astype(jnp.float32)
    entropy = binary_cross_entropy(logits, targets)
    wrong = jax.nn.sigmoid(jnp.where(targets > 0.5, -logits, logits))  # 1 − p_t, without cancellation
    alpha_t = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    # 0^γ has no gradient for γ < 1.
    return alpha_t * jnp.maximum(wrong, 1e-7) ** gamma * entropy


def binary_cross_entropy(logits: Float[Array, "*n"], targets: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """−t log p − (1 − t) log (1 − p) of p = sigmoid(logit), in nats; `targets` in [0, 1]."""
    logits = logits.astype(jnp.float32)
    return -targets * jax.nn.log_sigmoid(logits) - (1.0 - targets) * jax.nn.log_sigmoid(-logits)


def soft_dice(
    probabilities: Float[Array, "b n k"], labels: Int[Array, "b n"], weights: Float[Array, "b n"]
) -> Float[Array, "b k"]:
    """1 − (2 Σ p g + 1) / (Σ p² + Σ g + 1) of each image and class, in [0, 1) (Milletari et al. 2016, section 3, with 1
    added above and below, so that a class which is neither there nor predicted costs nothing).

    Args:
        probabilities: of each pixel, summing to one over the classes.
        labels: class ids; g is 1 where the label is the class.
        weights: of each pixel in the sums, 0 where it does not count.
    """
    truth = jax.nn.one_hot(labels, probabilities.shape[-1]) * weights[..., None]
    overlap = jnp.sum(probabilities * truth, axis=1)
    total = jnp.sum(jnp.square(probabilities) * weights[..., None], axis=1) + jnp.sum(truth, axis=1)
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
