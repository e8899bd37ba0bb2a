"""The contract between the training loop and a model: `Task`, and the arithmetic of losses and metrics.

A loss or a metric is a sum and a count until the very end (`Mean`). So a value is the same whether its examples came in one
batch or in many, on one device or on many, padded or not: pairs are added, then divided. A paper's formula
``L = alpha * Lc + (1 - alpha) * Lr`` is written just so, on means; the result is a `Loss`, which remembers its terms.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from cnnvision.inputs import InputSpec
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


@struct.dataclass
class Matched:
    """Boxes of a network (anchors, default boxes, cells), and which object each stands for in the loss.

    Attributes:
        boxes: float32 [b, m, 4] x1 y1 x2 y2, input pixels.
        object: int32 [b, m], position of the object among those of the `ObjectTarget`.
        valid: bool [b, m], False where the box stands for none.
    """

    boxes: Array
    object: Array
    valid: Array


class Evaluator(Protocol):
    """Accumulates a metric over a split, on the host, against the original ragged examples.

    For comparisons of runs it may have `compared`, a tuple of metric names, the most important one first, and, called after
    `compute()`, `contributions()`, what each image adds to the metrics (cnnvision/evaluation/contributions.py), and
    `errors()`: kind -> share.
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
class DataInfo:
    """What a task must know of its data; stored with every checkpoint.

    Attributes:
        classes: names of the classes of labels.
        semantic_classes: names of the classes of semantic maps.
        area_ranges: name -> (least, most) area in square pixels, for metrics by size.
        category_ids: of each class, its id in the data set's own files; () where it has none.
    """

    classes: tuple[str, ...]
    semantic_classes: tuple[str, ...] = ()
    area_ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    category_ids: tuple[int, ...] = ()


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
        ceiling: batch -> predictions: the batch's own targets, encoded as the network's and decoded again: the best that it
            could ever predict. None where every object can be encoded.
        fitting: batch -> bool [b, n], objects that a box of the network overlaps enough to stand for them. None where boxes
            are not laid out beforehand, or `ceiling` is None.
        matches: (params, model_state, batch) -> name -> `Matched`: what stands for which object; drawn before step 1.
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
    ceiling: Callable[[Batch], Any] | None = None
    fitting: Callable[[Batch], Array] | None = None
    matches: Callable[[Params, ModelState, Batch], dict[str, Matched]] | None = None
