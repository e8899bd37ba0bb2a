"""A class for every pixel: the last layer, its losses as terms, what is predicted from its logits.

Labels and logits are those of one and the same pixels: a network whose convolutions have no padding answers for the middle
of its input; a target is cut to that (`ops.images.centre`), and `around` puts an answer back into the input's frame.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from cnnvision.errors import ConfigError, check_name, check_range
from cnnvision.ops import losses
from cnnvision.task import BorderWeights, DataInfo, Mean
from cnnvision.types import IGNORE, SegmentationPrediction, SemanticTarget

TERMS = ("cross_entropy", "dice", "focal")
"""Loss terms; a config gives each its weight, 0 for none."""

TTA = ("none", "flips", "rotations")
"""Views of an input whose probabilities are averaged: itself; its four mirrorings; these and their quarter turns, eight."""


class SegmentationHead(nn.Module):
    """One linear layer on each pixel's features, a 1×1 convolution. Attributes: classes: number of logits."""

    classes: int

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Features -> float32 logits."""
        return nn.Dense(self.classes, dtype=jnp.float32, name="class")(features.astype(jnp.float32))


def check_loss(config: Any, info: DataInfo) -> None:
    """Raises ConfigError for a `config.model.loss` that cannot be used with these classes."""
    where = "config.model.loss"
    for term in TERMS:
        check_range(f"{where}.{term}", config[term], 0, 1e6, "the weight of this term")
    if not any(config[term] for term in TERMS):
        raise ConfigError(f"{where}: every term has weight 0, so there is nothing to learn; set one of {', '.join(TERMS)}")
    check_range(f"{where}.focal_gamma", config.focal_gamma, 0, 100)
    check_range(f"{where}.border_w0", config.border_w0, 0, 1e6)
    check_range(f"{where}.border_sigma", config.border_sigma, 0.1, 1e4)
    if config.border_w0 and not (config.cross_entropy or config.focal):
        raise ConfigError(f"{where}.border_w0: weighs cross entropy and focal loss, and both have weight 0")
    check_name(f"{where}.border_background", config.border_background or info.semantic_classes[0], info.semantic_classes)
    weights = config.class_weights
    numbers = all(isinstance(weight, int | float) and 0 <= weight < math.inf for weight in weights)
    if (
        not numbers
        or len(weights) > len(info.semantic_classes)
        or not any(_class_weights(weights, len(info.semantic_classes)))
    ):
        raise ConfigError(
            f"{where}.class_weights = {tuple(weights)}: must be numbers >= 0, not all 0, at most one for each of the "
            f"{len(info.semantic_classes)} classes, in this order: {', '.join(info.semantic_classes)}"
        )


def _class_weights(weights: Sequence[float], classes: int) -> tuple[float, ...]:
    """Those of the first classes are given, the others are 1."""
    return (*weights, *[1.0] * (classes - len(weights)))


def background_of(config: Any, info: DataInfo) -> int:
    """The class that parts cells: `border_background` of `config.model.loss`, or else the first one."""
    return info.semantic_classes.index(config.border_background or info.semantic_classes[0])


def border_weights(config: Any, info: DataInfo) -> BorderWeights | None:
    """What the pipeline has to weigh pixels with, as `config.model.loss` says."""
    if not config.border_w0:
        return None
    return BorderWeights(float(config.border_w0), float(config.border_sigma), background_of(config, info))


def segmentation_terms(
    config: Any, logits: Float[Array, "b h w k"], target: SemanticTarget, valid: Bool[Array, "b"]
) -> dict[str, Mean]:
    """The loss terms that have a weight, each a mean; the paper's file weighs and adds them.

    Args:
        config: `config.model.loss`.
        logits: of the pixels of `target`.
        target: labels, and weights of the pixels where the pipeline gives some.
        valid: examples that are real.

    Returns:
        "cross_entropy" (nats) and "focal": means over the pixels that are not IGNORE, weighed by class and border weights;
        "dice": mean over images and classes.
    """
    counts = (target.labels != IGNORE) & valid[:, None, None]
    labels = jnp.where(counts, target.labels, 0).astype(jnp.int32)
    weights = counts.astype(jnp.float32)
    if target.weights is not None:
        weights = weights * target.weights
    if config.class_weights:
        weights = weights * jnp.array(_class_weights(config.class_weights, logits.shape[-1]), jnp.float32)[labels]
    terms = {}
    if config.cross_entropy:
        terms["cross_entropy"] = Mean.of(losses.pixel_cross_entropy(logits, labels), weights)
    if config.focal:
        terms["focal"] = Mean.of(losses.focal(logits, labels, config.focal_gamma), weights)
    if config.dice:
        b, _, _, k = logits.shape
        probabilities = jax.nn.softmax(logits.astype(jnp.float32)).reshape(b, -1, k)
        each = losses.soft_dice(probabilities, labels.reshape(b, -1), counts.astype(jnp.float32).reshape(b, -1))
        some = jnp.any(counts, axis=(1, 2))
        terms["dice"] = Mean.of(each, jnp.broadcast_to(some[:, None], each.shape))
    return terms


def segmentation_metrics(
    terms: dict[str, Mean], logits: Float[Array, "b h w k"], target: SemanticTarget, valid: Bool[Array, "b"]
) -> dict[str, Mean]:
    """For the log: each loss term, and the share of the pixels, IGNORE aside, whose largest logit is that of their class."""
    counts = (target.labels != IGNORE) & valid[:, None, None]
    right = Mean.of(jnp.argmax(logits, axis=-1) == target.labels.astype(jnp.int32), counts)
    return {**{f"loss/{name}": term for name, term in terms.items()}, "pixel_accuracy": right}


def around(labels: UInt8[Array, "b _ _"], size: tuple[int, int]) -> UInt8[Array, "b h w"]:
    """The inverse of `ops.images.centre`, for predictions: the rim, for which there is no answer, is IGNORE."""
    rows, columns = (whole - part for whole, part in zip(size, labels.shape[1:], strict=True))
    rim = ((0, 0), (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    return jnp.pad(labels, rim, constant_values=IGNORE)


def predict_labels(
    logits_of: Callable[[Float[Array, "b h w 3"]], Float[Array, "b _ _ k"]],
    image: Float[Array, "b h w 3"],
    tta: str = "none",
) -> SegmentationPrediction:
    """The most probable class of each pixel.

    Args:
        logits_of: the network; its logits lie in the middle of the input.
        image: normalised; square for `tta` = "rotations".
        tta: one of `TTA`. The paper on U-Net averages seven rotations (section 4); eight are all there are.
    """
    if tta == "none":
        scores = logits_of(image)
    else:
        scores = sum(_probabilities_of_view(logits_of, image, turns, flip) for turns, flip in views(tta))
    return SegmentationPrediction(around(jnp.argmax(scores, axis=-1).astype(jnp.uint8), image.shape[1:3]))


def views(tta: str) -> Sequence[tuple[int, bool]]:
    """(quarter turns, mirrored first) of each view that `tta` names."""
    turns = {"none": (0,), "flips": (0, 2), "rotations": (0, 1, 2, 3)}[tta]
    return [(turn, flip) for turn in turns for flip in ((False,) if tta == "none" else (False, True))]


def _probabilities_of_view(
    logits_of: Callable[[Array], Array], image: Float[Array, "b h w 3"], turns: int, flip: bool
) -> Float[Array, "b _ _ k"]:
    """Class probabilities from a mirrored, then turned input, turned and mirrored back."""
    image = jnp.rot90(image[:, :, ::-1] if flip else image, turns, axes=(1, 2))
    scores = jax.nn.softmax(logits_of(image).astype(jnp.float32))
    scores = jnp.rot90(scores, -turns, axes=(1, 2))
    return scores[:, :, ::-1] if flip else scores


def check_tta(tta: str, size: tuple[int, int]) -> str:
    """`tta`, or a ConfigError where it is unknown or needs a square input."""
    check_name("config.model.tta", tta, TTA)
    if tta == "rotations" and size[0] != size[1]:
        raise ConfigError(f"config.model.tta: 'rotations' needs a square input, and config.data.size is {tuple(size)}")
    return tta
