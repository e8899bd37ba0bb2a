"""What a run is made of."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
from etils import epath

from cnnvision.task import Task
from cnnvision.training.evaluate import SplitEvaluation
from cnnvision.training.optimizer import make_optimizer
from cnnvision.types import Batch


@dataclasses.dataclass
class Run:
    """What a run is made of; cnnvision/runs/join.py joins it from a config.

    Attributes:
        task: the model.
        config: sections `training` and `optimizer` are read here.
        workdir: the run folder.
        mesh: the devices.
        example_batch: a batch of the declared shape, for shapes only.
        train_batches: (first step, step to stop before) -> the pipeline's batches, this process's rows.
        batch_size: examples of all processes in a step.
        evaluation: the split to evaluate on.
        classes: names, for pictures.
        fit_batches: (examples, first batch) -> batches of the training split's first examples, without augmentation.
        fingerprint: of what is trained on: ids, classes, labels and masks.
        opening: lines that are said before the first step.
        write_config: writes `config.json`, once the run is known to begin.
        say: prints a line.
    """

    task: Task
    config: Any
    workdir: epath.Path
    mesh: jax.sharding.Mesh
    example_batch: Batch
    train_batches: Callable[[int, int], Iterable[Any]]
    batch_size: int
    evaluation: SplitEvaluation
    classes: tuple[str, ...]
    fit_batches: Callable[[int, int], Iterable[Any]]
    fingerprint: str
    opening: Callable[[], Iterable[str]] = tuple
    write_config: Callable[[], None] = lambda: None
    say: Callable[[str], None] = print

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder's files (checkpoints are written by all)."""
        return jax.process_index() == 0

    @property
    def last_step(self) -> int:
        """Training steps, and one for each stage after them."""
        return self.config.training.steps + len(self.task.host_stages)

    def make_optimizer(self, trainable: Any) -> Any:
        """The optimizer for parameters of which `trainable` says what may move."""
        return make_optimizer(self.config.optimizer, self.config.training.steps, trainable)[0]
