"""Runs a task over a whole split: predictions to the evaluator, and the validation loss.

The same function serves the evaluations inside the loop and the `evaluate` command, on one device or many processes: each
process reads its rows, one program predicts, and every process collects all predictions and computes the same metrics.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath

from cnnvision.ops.images import on_mesh
from cnnvision.task import Mean, Task
from cnnvision.training.originals import Originals
from cnnvision.training.sharding import gather, local_rows, put_batch
from cnnvision.training.step import CompiledOnce
from cnnvision.types import Batch, Example, Problem, Source

CONTRIBUTIONS = "contributions.npz"
"""In a run folder: what each image added to the metrics of the last evaluation."""

MOST_CONFUSED = 100
"""Classes of which a confusion matrix is kept, at most."""


def remarks(evaluation: "SplitEvaluation", metrics: dict[str, float]) -> list[str]:
    """What has to be said about the last run of an evaluation beside its numbers, a line each."""
    lines = [f"not evaluated on: {problem}" for problem in evaluation.failures]
    if evaluation.dropped:
        why = "found no room (config.model.max_objects), or have no pixel of their mask in the input"
        lines.append(f"{evaluation.dropped} objects {why}: the loss is without them")
    judged = (evaluation.task.best or ("AP",))[0]
    if any(math.isnan(metrics.get(name, 0.0)) for name in ("loss", judged)):
        lines.append("nothing in what is evaluated on counts: it has no target of a class that the network knows")
    return lines


def make_predict_step(task: Task) -> Callable[[Any, Any, Batch], tuple[Any, dict[str, Mean]]]:
    """(params, model_state, batch) -> (predictions, validation metrics), to be jitted; no metrics without targets."""

    def predict_step(params, model_state, batch):
        predictions = task.predict(params, model_state, batch)
        if batch.target is None:
            return predictions, {}
        loss, aux = task.loss(params, model_state, batch, jax.random.key(0), False)
        # Terms have counts of their own; the loss of a split is the sum of their means over the split.
        terms = {f"term{i}": term for i, term in enumerate(loss.terms)}
        return predictions, {**aux.metrics, **terms}

    return predict_step


class Pictures(Protocol):
    """Collects what is shown of an evaluation (cnnvision/data/augment/wholes.py)."""

    def add(self, examples: Sequence[Example], predictions: Any) -> None:
        """Takes what is wanted among examples without images and their predictions, in original pixels."""
        ...

    def batches(self) -> list[tuple[Batch, Any]]:
        """What was taken, in batches with predictions in their pixels."""
        ...


class SplitEvaluation:
    """Evaluates a task on a split, as often as wanted, with one compilation.

    Args:
        task: what to evaluate.
        source: the split, with its original annotations.
        batches: () -> the split's batches in order, this process's rows (`eval_batches` with its arguments filled in).
        mesh: where to compute.
        pictures: (how many examples) -> what collects them for pictures on the first process; without it the inputs
            themselves are kept.

    Attributes:
        compiled: the program and the record of its compilations.
        failures: problems of examples that could not be read in the last run.
        dropped: objects for which a batch had no room in the last run: the loss and what is measured with it lack them.
        evaluator: of the last run, with what it knows beside its metrics.
    """

    def __init__(
        self,
        task: Task,
        source: Source,
        batches: Callable[[], Iterable[Any]],
        mesh: jax.sharding.Mesh,
        pictures: Callable[[int], Pictures] | None = None,
    ):
        self.task, self.source, self.batches, self.mesh, self.pictures = task, source, batches, mesh, pictures
        self.compiled = CompiledOnce("predict", jax.jit(on_mesh(make_predict_step(task), mesh)), time.perf_counter)
        self.failures: list[Problem] = []
        self.dropped = 0
        self.evaluator: Any = None

    def write_contributions(self, path: epath.PathLike, step: int, steps: int) -> None:
        """Writes what each image added to the metrics of the last run, where the evaluator tells it; see
        cnnvision/evaluation/contributions.py.

        Beside it stand the step, how many there are, the source, its split, and which metrics are compared, the most
        important one first; the confusion matrix of images' classes, and the kinds of errors of detections.
        """
        if not hasattr(self.evaluator, "contributions"):
            return
        found = self.evaluator.contributions()
        compared = getattr(self.evaluator, "compared", (self.task.best or ("loss",))[:1])
        about = {"step": step, "steps": steps, "data": self.source.name, "split": self.source.split}
        if found.confusion is None and len(getattr(self.evaluator, "confusion", ())) in range(1, MOST_CONFUSED + 1):
            about["confusion"] = self.evaluator.confusion.tolist()
        if hasattr(self.evaluator, "errors"):
            about["errors"] = {kind: share if share == share else None for kind, share in self.evaluator.errors().items()}
        found.write(path, {**about, "compared": [name for name in compared if name in found.metrics]})

    def run(
        self,
        params: Any,
        model_state: Any,
        keep: int = 0,
        collect: Callable[[Any, Any], None] | None = None,
        watch: Callable[[Batch, Any], None] | None = None,
    ) -> tuple[dict[str, float], list[tuple[Batch, Any]]]:
        """One pass over the split.

        Args:
            keep: how many examples, spread evenly over the split, come back with their predictions, for pictures: of
                them, those that this process reads, or what `pictures` makes of them.
            collect: called with (examples, predictions in original pixels) of every batch, for files of predictions.
            watch: called with (batch, predictions in its pixels) on the host, of the rows that this process reads.

        Returns:
            metrics of the evaluator, `loss`, and those metrics of the loss that the evaluator has no better value for (none
            where the batches have no targets), NaN where nothing in the split counts; what is kept, in small batches with
            predictions in their pixels.
        """
        self.evaluator, totals, kept, self.failures, self.dropped = self.task.evaluator(), {}, [], [], 0
        wanted = np.linspace(0, len(self.source) - 1, 0 if self.pictures else min(keep, len(self.source))).astype(int)
        pictures = self.pictures(keep) if self.pictures and jax.process_index() == 0 else None
        masks = "semantic" if self.task.inputs.target == "semantic" else "objects" if self.task.inputs.mask_side else False
        originals = Originals(self.source, masks)
        targets = False

        def pass_on(examples, predictions):
            if examples and targets:
                self.evaluator.update(examples, predictions)
            if examples and collect:
                collect(examples, predictions)
            if examples and pictures:
                pictures.add(examples, predictions)

        for loaded in self.batches():
            targets = loaded.batch.target is not None
            # Each tile of an image that cannot be read fails; the image is said once.
            self.failures += [problem for problem in dict.fromkeys(loaded.failures) if problem not in self.failures]
            self.dropped += loaded.dropped_objects
            batch = put_batch(loaded.batch, self.mesh)
            predictions, metrics = self.compiled(params, model_state, batch)
            for name, metric in jax.device_get(metrics).items():
                totals[name] = totals[name].merge(metric) if name in totals else metric
            chosen = np.flatnonzero(loaded.batch.valid & np.isin(loaded.batch.index, wanted))
            if watch or len(chosen):
                pair = (loaded.batch, jax.tree.map(local_rows, predictions))
            if watch:
                watch(*pair)
            if len(chosen):
                kept.append(jax.tree.map(lambda x, chosen=chosen: x[chosen], pair))
            pass_on(*originals.add(*gather((predictions, batch.index, batch.valid, batch.transform, batch.core))))
        pass_on(*originals.rest())
        kept += pictures.batches() if pictures else []
        if not totals:
            return {}, kept
        terms = [totals.pop(name) for name in list(totals) if name.startswith("term")]
        defined = lambda mean: float(mean.value()) if float(mean.count) > 0 else math.nan
        loss = sum(float(term.value()) for term in terms) if any(float(term.count) > 0 for term in terms) else math.nan
        metrics = {**self.evaluator.compute(), "loss": loss}
        return metrics | {name: defined(mean) for name, mean in totals.items() if name not in metrics}, kept
