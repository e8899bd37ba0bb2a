"""Trained runs as contenders of a comparison: each evaluated on the same images, and what its prediction costs."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from cnnvision.data.augment.windows import all_tiles
from cnnvision.errors import RunError
from cnnvision.inputs import ProposalSpec
from cnnvision.installation import typed
from cnnvision.models import make_task
from cnnvision.runs.configuration import from_json, to_json
from cnnvision.runs.join import evaluation_of
from cnnvision.runs.open import Trained, evaluated, load
from cnnvision.training.checkpoint import Checkpoints

from .costs import Cost, cost_of, on_one_device, proposal_seconds

SHOWN = 6
"""Images in the picture; on them proposals that are made ahead of the network are timed, too."""


@dataclasses.dataclass
class Contender:
    """One trained network.

    Attributes:
        name: in the table.
        trained: the network.
        metrics: of its evaluation.
        compared: names of those that the table shows; a network need not have all of them. "ceiling_AP", "ceiling_APs" are
            what true boxes reach that are encoded as the network's targets and decoded again (`Task.ceiling`).
        predictions: id of an image -> its prediction in original pixels, for the picture.
        cost: operations and seconds of an image.
        errors: of a detector, kind -> its share of the best detections (evaluation/detection_errors.py).
    """

    name: str
    trained: Trained
    metrics: dict[str, float]
    compared: tuple[str, ...]
    predictions: dict[str, Any]
    cost: Cost
    errors: dict[str, float] = dataclasses.field(default_factory=dict)


def contender(name: str, workdir: epath.Path, say: Any, ahead: dict[ProposalSpec | None, float]) -> Contender:
    """Loads and evaluates one network, as it is after its last step: what `judged.judge` reads of it is of that step.

    Args:
        name: in the table.
        workdir: its run folder.
        say: prints a line.
        ahead: seconds of proposals, completed here: networks with the same proposals pay the same for them.

    Raises:
        RunError: nothing that it is evaluated on counts.
    """
    with Checkpoints(workdir, read_only=True) as checkpoints:
        last = checkpoints.latest()
    trained = load(workdir, last)
    source, task, spec = evaluated(trained), trained.task, trained.task.inputs
    evaluation = evaluation_of(task, source, trained.config, trained.mesh)
    few = np.linspace(0, len(source) - 1, min(SHOWN, len(source))).astype(int).tolist()
    wanted, predictions = {source.ids[index] for index in few}, {}

    def collect(examples, found):
        rows = {example.id: row for row, example in enumerate(examples) if example.id in wanted}
        predictions.update({id_: jax.tree.map(lambda x, row=row: x[row], found) for id_, row in rows.items()})

    metrics, _ = evaluation.run(trained.params, trained.model_state, collect=collect)
    compared = getattr(evaluation.evaluator, "compared", (task.best or ("loss",))[:1])
    if math.isnan(metrics[compared[0]]):
        what, where = ("pixel", "maps hold") if spec.target == "semantic" else ("object", "annotations hold")
        raise RunError(
            f"{workdir}: no {what} of {source.name} {source.split} counts, so there is nothing to compare. "
            f"{typed('doctor')} --data={trained.config.data.source} tells what its {where}."
        )
    if task.ceiling is not None:
        perfect = dataclasses.replace(task, predict=lambda params, model_state, batch: task.ceiling(batch))
        reached, _ = evaluation_of(perfect, source, trained.config, trained.mesh).run(trained.params, trained.model_state)
        ceiling = {f"ceiling_{metric}": reached[metric] for metric in ("AP", "APs")}
        metrics, compared = metrics | ceiling, (*compared, *ceiling)
    errors = evaluation.evaluator.errors() if hasattr(evaluation.evaluator, "errors") else {}
    say(f"{name}: " + ", ".join(f"{metric} {metrics[metric]:.4f}" for metric in compared if metric in metrics))
    arguments = on_one_device(trained.params, trained.model_state, next(iter(evaluation.batches())).batch)
    if spec.proposals not in ahead:
        ahead[spec.proposals] = proposal_seconds((source.read(index).image for index in few), spec.proposals)
    tiles = len(all_tiles(source, spec)) / len(source) if spec.resize == "tile" else 1.0
    cost = cost_of(name, task, arguments, ahead[spec.proposals], tiles)
    return Contender(name, trained, metrics, compared, predictions, cost, errors)


def variant(each: Contender, name: str, keys: Mapping[str, Any]) -> Cost:
    """What a contender's prediction costs where `keys` of config.model are set; its parameters stay the same."""
    config = to_json(each.trained.config)
    config["model"].update(keys)
    task, program = make_task(from_json(config), each.trained.info), each.cost.whole
    return cost_of(name, dataclasses.replace(task, parts={}), program.arguments, each.cost.proposals, each.cost.times)
