"""A class for every pixel: the last layer, its losses as terms, what is predicted from its logits.

Labels and logits are those of one and the same pixels: a network whose convolutions have no padding has logits of the
middle of its input; a target is cut to that (`ops.images.centre`), and `around` pads predictions to the input's size.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from cnnvision.errors import ConfigError
from cnnvision.inputs import BorderWeights
from cnnvision.ops import losses
from cnnvision.settings import Between, Weight, check_name
from cnnvision.task import DataInfo, Mean
from cnnvision.types import IGNORE, SegmentationPrediction, SemanticTarget

TERMS = ("cross_entropy", "dice", "focal")


@dataclasses.dataclass(frozen=True)
class PixelLossSettings:
    """The loss: a weighted sum of `TERMS`, of which those of weight 0 are left out; and what weighs pixels."""

    cross_entropy: Weight = 1.0
    dice: Weight = 0.0
    focal: Weight = 0.0
    focal_gamma: Annotated[float, Between(0, 100)] = 2.0
    class_weights: Annotated[tuple[float, ...], Between(0, 10**6)] = ()  # of the first classes, on cross entropy and focal
    # loss; the others have 1
    border_w0: Weight = 0.0  # on top of 1, where two cells touch (U-Net, equation 2)
    border_sigma: Annotated[float, Between(0.1, 10**4)] = 5.0  # pixels
    border_background: str | None = None  # the class that parts cells; None for the first

    def __post_init__(self):
        if not any(getattr(self, term) for term in TERMS):
            terms = ", ".join(TERMS)
            raise ConfigError(f"{TERMS[0]}: every term has weight 0, so there is nothing to learn; set one of {terms}")
        if self.border_w0 and not (self.cross_entropy or self.focal):
            raise ConfigError("border_w0: weighs cross entropy and focal loss, and both have weight 0")


class SegmentationHead(nn.Module):
    """One linear layer on each pixel's features, a 1×1 convolution. Attributes: classes: number of logits."""

    classes: int

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Features -> float32 logits."""
        return nn.Dense(self.classes, dtype=jnp.float32, name="class")(features.astype(jnp.float32))


def check_classes(settings: PixelLossSettings, info: DataInfo) -> None:
    """Raises ConfigError where the loss cannot be used with these classes."""
    where, classes, weights = "config.model.loss", info.semantic_classes, settings.class_weights
    check_name(
        f"{where}.border_background",
        settings.border_background or classes[0],
        classes,
    )
    if len(weights) > len(classes) or not any(_class_weights(weights, len(classes))):
        raise ConfigError(
            f"{where}.class_weights = {weights}: must be numbers >= 0, not all 0, at most one for each of the "
            f"{len(classes)} classes, in this order: {', '.join(classes)}"
        )


def _class_weights(weights: Sequence[float], classes: int) -> tuple[float, ...]:
    """Those of the first classes are given, the others are 1."""
    return (*weights, *[1.0] * (classes - len(weights)))


def background_of(settings: PixelLossSettings, info: DataInfo) -> int:
    """The class that parts cells: `border_background`, or else the first one."""
    return info.semantic_classes.index(settings.border_background or info.semantic_classes[0])


def border_weights(settings: PixelLossSettings, info: DataInfo) -> BorderWeights | None:
    """What the pipeline has to weigh pixels with."""
    if not settings.border_w0:
        return None
    return BorderWeights(settings.border_w0, settings.border_sigma, background_of(settings, info))


def segmentation_terms(
    settings: PixelLossSettings, logits: Float[Array, "b h w k"], target: SemanticTarget, valid: Bool[Array, "b"]
) -> dict[str, Mean]:
    """The loss terms that have a weight, each a mean; the paper's file weighs and adds them.

    Args:
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
    if settings.class_weights:
        weights = weights * jnp.array(_class_weights(settings.class_weights, logits.shape[-1]), jnp.float32)[labels]
    terms = {}
    if settings.cross_entropy:
        terms["cross_entropy"] = Mean.of(losses.pixel_cross_entropy(logits, labels), weights)
    if settings.focal:
        terms["focal"] = Mean.of(losses.focal(logits, labels, settings.focal_gamma), weights)
    if settings.dice:
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
    """The inverse of `ops.images.centre`, for predictions: the rim, for which there are no logits, is IGNORE."""
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
        tta: test-time augmentation: "none"; "flips": the mean over the four mirrorings; "rotations": over these and their
            quarter turns, eight in all. (The paper on U-Net averages seven rotations, section 4.)
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
