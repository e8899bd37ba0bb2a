"""The contract between the training loop and a model: `Task`, and the arithmetic of losses and metrics.

A loss or a metric is a sum and a count until the very end (`Mean`). So a value is the same whether its examples came in one
batch or in many, on one device or on many, padded or not: pairs are added, then divided. A paper's formula
``L = alpha * Lc + (1 - alpha) * Lr`` is written just so, on means; the result is a `Loss`, which remembers its terms.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from cnnvision.errors import ConfigError
from cnnvision.settings import Between, Count
from cnnvision.types import Array, Batch, Example

Params = Any
ModelState = Any
Key = Any


@struct.dataclass
class Mean:
    """A sum and what it is to be divided by: both scalars float32. A count of zero makes the mean zero."""

    total: Array
    count: Array

    @classmethod
    def of(cls, values: Array, weights: Array) -> "Mean":
        """Weighted mean of `values` (any shape), `weights` of the same shape, zero where a value does not count.

        What stands beneath a zero weight may be anything, infinities included: it reaches neither value nor gradient.
        """
        values, weights = jnp.asarray(values, jnp.float32), jnp.asarray(weights, jnp.float32)
        if values.shape != weights.shape:
            raise ValueError(f"Mean.of: values {values.shape} and weights {weights.shape} must have one shape")
        return cls(jnp.sum(jnp.where(weights > 0, values, 0.0) * weights), jnp.sum(weights))

    def over(self, valid: Array) -> "Mean":
        """Reduces per-image means (fields [b]) to the mean over all values of the valid images."""
        rows = lambda x: jnp.sum(jnp.where(valid, x, 0.0))
        return Mean(rows(self.total), rows(self.count))

    def merge(self, other: "Mean") -> "Mean":
        """The mean over both sets of values."""
        return Mean(self.total + other.total, self.count + other.count)

    def value(self) -> Array:
        """total / count, and 0 where the count is 0."""
        return jnp.where(self.count > 0, self.total / jnp.where(self.count > 0, self.count, 1.0), 0.0)

    def __mul__(self, weight: float) -> "Loss":
        return Loss((Mean(self.total * weight, self.count),))

    __rmul__ = __mul__

    def __add__(self, other: "Mean | Loss") -> "Loss":
        return self * 1.0 + other


@struct.dataclass
class Loss:
    """A weighted sum of means. Attributes: terms: tuple of `Mean`, each already multiplied by its weight."""

    terms: tuple[Mean, ...]

    def value(self, counts: Sequence[Array] | None = None) -> Array:
        """The scalar to minimise.

        Args:
            counts: one scalar for each term, to divide by in place of the term's own count: the counts of a whole batch
                where this is the loss of one slice of it (exact gradient accumulation).
        """
        counts = [term.count for term in self.terms] if counts is None else counts
        return sum(Mean(term.total, count).value() for term, count in zip(self.terms, counts, strict=True))

    def __mul__(self, weight: float) -> "Loss":
        return Loss(tuple(Mean(term.total * weight, term.count) for term in self.terms))

    __rmul__ = __mul__

    def __add__(self, other: "Mean | Loss") -> "Loss":
        other = other * 1.0 if isinstance(other, Mean) else other
        return Loss(self.terms + other.terms)


@struct.dataclass
class LossAux:
    """What a loss returns beside its value.

    Attributes:
        model_state: the new model state (BatchNorm statistics); the one given where `train` was False.
        metrics: name -> Mean, for the log.
    """

    model_state: ModelState
    metrics: dict[str, Mean]


class Evaluator(Protocol):
    """Accumulates a metric over a split, on the host, against the original ragged examples.

    For comparisons of runs it may have `compared`, a tuple of metric names, the most important one first, and
    `resampled()`, called after `compute()`: metric name -> float64 [rounds], its values on resamples of the images.
    """

    def update(self, examples: Sequence[Example], predictions: Any) -> None:
        """Adds a batch of real examples.

        Args:
            examples: annotations in original pixels, without images.
            predictions: the task's predictions as NumPy arrays, one row an example, boxes already in original pixels.
        """
        ...

    def compute(self) -> dict[str, float]:
        """Metric name -> value over all examples seen. A value that is not defined on this data is NaN."""
        ...


@dataclasses.dataclass(frozen=True)
class BorderWeights:
    """The weight map of Ronneberger et al. 2015, equation 2, without its class balance: 1 + w0 · exp(−(d1 + d2)² / 2σ²).

    Attributes:
        w0: weight on top of 1 where two cells touch.
        sigma: how fast it falls with the distances to the two nearest cells, pixels.
        background: class id of what parts the cells.
    """

    w0: float
    sigma: float
    background: int


@dataclasses.dataclass(frozen=True)
class ProposalSpec:
    """Boxes where an object may be, made from the image alone, ahead of the network (data/wrappers/proposals.py)."""

    method: Literal["selective_search", "random", "sliding"]  # "random": of any position and size; "sliding": a regular grid
    most: Count  # of an image; the first in their order are taken
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0  # of the order of selective search's, and of random boxes
    quality: bool = False  # selective search's slower, more thorough mode
    least_side: Annotated[int, Between(1, 10**4)] = (
        256  # images with a shorter side below are enlarged by a whole factor for
    )
    # selective search, the longer side to four times this at most, pixels
    scales: Annotated[tuple[float, ...], Between(0.001, 1)] = (0.1, 1.0)  # square roots of areas as shares of the image's;
    # "random": (least, most), "sliding": all
    ratios: Annotated[tuple[float, ...], Between(0.001, 100)] = (0.5, 2.0)  # height / width; likewise
    step: Annotated[float, Between(0.01, 1)] = 0.25  # "sliding": distance of neighbours, as a share of their sides

    def __post_init__(self):
        for name in ("scales", "ratios"):
            values = getattr(self, name)
            if not values or (self.method == "random" and (len(values) != 2 or values[0] > values[1])):
                raise ConfigError(f'{name} = {values!r}: must have one at least; (least, most) where the method is "random"')


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the pipeline must put into a batch.

    Attributes:
        sizes: the declared (height, width) of inputs, pixels: one program is compiled for each. Evaluation and prediction
            take the first; a training step takes any of them, by seed and step.
        target: which target struct to fill; "" for none (images alone, to predict on).
        resize: how an image is brought to an input size. "stretch": both sides, aspect ratio lost. "letterbox": the longer
            side, the rest padded. "crop": the shorter side, then the centre `crop_fraction` of it (ImageNet's way).
            "tile": not resized; training sees random windows, evaluation overlapping tiles with mirrored borders.
        crop_fraction: for "crop" only.
        objects: which objects a batch holds: "all" (up to `max_objects`) or the "largest" alone.
        max_objects: rows of an ObjectTarget; further objects are dropped and counted.
        mask_side: side of instance masks, 0 for none.
        multiple_of: every size must be a multiple of this (the network's largest stride).
        margin: for "tile": pixels at each side of a tile that are seen, but not predicted.
        lost: for "tile": border pixels per side that unpadded convolutions lose. Training windows extend this far beyond the
            (mirrored) image, so that its border is trained on, too.
        tile_step: for "tile": tiles lie at distances that are a multiple of this, so that all pool the same pixels together.
        border: weights of a SemanticTarget; None for none.
        proposals: what a batch's proposals are; None for none.
    """

    sizes: tuple[tuple[int, int], ...]
    target: Literal["class", "objects", "semantic", ""]
    resize: Literal["stretch", "letterbox", "crop", "tile"] = "stretch"
    crop_fraction: float = 0.875
    objects: Literal["all", "largest"] = "all"
    max_objects: int = 1
    mask_side: int = 0
    multiple_of: int = 1
    margin: int = 0
    lost: int = 0
    tile_step: int = 1
    border: BorderWeights | None = None
    proposals: ProposalSpec | None = None


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What a task must know of its data; stored with every checkpoint.

    Attributes:
        classes: names of the classes of labels.
        semantic_classes: names of the classes of semantic maps.
        area_ranges: name -> (least, most) area in square pixels, for metrics by size.
    """

    classes: tuple[str, ...]
    semantic_classes: tuple[str, ...] = ()
    area_ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class HostStage:
    """A stage run once after training: it fits parameters on the host to the network's outputs on the (unaugmented) training
    split. It counts as one more step: evaluated, and saved.

    Attributes:
        name: for the log.
        examples: how many of the training split, from the first on; None for all.
        outputs: (params, model_state, batch) -> name -> [b, ...]: what is fitted to, computed on the devices.
        fit: (params, read) -> params; read() goes through the outputs again, batch by batch: NumPy, valid examples only.
    """

    name: str
    examples: int | None
    outputs: Callable[[Params, ModelState, Batch], dict[str, Array]]
    fit: Callable[[Params, Callable[[], Iterator[dict[str, Any]]]], Params]


@dataclasses.dataclass(frozen=True)
class Task:
    """A model as the training loop sees it: pure functions, made by ``make_task(config, info)`` of a file in models/.

    Attributes:
        inputs: what the pipeline must put into a batch.
        init: (key, batch) -> (params, model_state).
        warm_start: (params, model_state) -> (params, model_state, report): weights from elsewhere, loaded on the host
            once, before step 0 of a new run; the same trees and "" where the config names none.
        trainable: params -> the same tree with a bool at each leaf: what the optimizer may move.
        loss: (params, model_state, batch, key, train) -> (Loss, LossAux). With train=False nothing random happens and
            the model state comes back as it was: the validation loss.
        predict: (params, model_state, batch) -> predictions of fixed shapes; never reads targets.
        evaluator: () -> a fresh Evaluator.
        best: (metric name of the evaluator, "max" or "min"): which checkpoint is the best one; None for the last.
        parts: for profiling: stage name -> (params, model_state, batch) -> the intermediate output of `predict` after that
            stage, in order; the last stage is `predict`. The ladder has a column for each name: "backbone", "proposals",
            "RoI heads", "head" …
        host_stages: run once after the training steps, in their order; `init` makes their parameters, too, and `predict`
            does without those that are not fitted yet.
    """

    inputs: InputSpec
    init: Callable[[Key, Batch], tuple[Params, ModelState]]
    loss: Callable[[Params, ModelState, Batch, Key, bool], tuple[Loss, LossAux]]
    predict: Callable[[Params, ModelState, Batch], Any]
    evaluator: Callable[[], Evaluator]
    best: tuple[str, Literal["max", "min"]] | None
    warm_start: Callable[[Params, ModelState], tuple[Params, ModelState, str]] = lambda params, state: (params, state, "")
    trainable: Callable[[Params], Any] = lambda params: jax.tree.map(lambda leaf: True, params)
    parts: dict[str, Callable[[Params, ModelState, Batch], Any]] = dataclasses.field(default_factory=dict)
    host_stages: tuple[HostStage, ...] = ()
