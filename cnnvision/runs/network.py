"""The trained network of a run folder: what is opened to predict with, and what another run may start from."""

import dataclasses
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from cnnvision.data.batching import empty_batch
from cnnvision.errors import RunError
from cnnvision.models import make_task
from cnnvision.runs import config_json
from cnnvision.runs.configuration import from_json
from cnnvision.storage import path_of
from cnnvision.task import DataInfo, Task
from cnnvision.training.checkpoint import Checkpoints, with_layout


@dataclasses.dataclass(frozen=True)
class Network:
    """A network from a run folder.

    Attributes:
        config, info, task: what it is.
        params, model_state: on the mesh; the parameters' average where the run has one.
        step: of the checkpoint.
    """

    config: ConfigDict
    info: DataInfo
    task: Task
    params: Any
    model_state: Any
    step: int


def names_of(task: Task, info: DataInfo) -> tuple[str, ...]:
    """Names of the classes that a task predicts."""
    return info.semantic_classes if task.inputs.target == "semantic" else info.classes


def read_network(workdir: epath.PathLike, step: int | None, mesh: jax.sharding.Mesh) -> Network:
    """The network of a run folder's checkpoint of `step`, or of the best one.

    Raises:
        RunError: no run folder, no checkpoint, or none of that step.
    """
    content = config_json.read(workdir)
    config, facts = from_json(content["config"]), content["data"]
    ranges = {name: tuple(limits) for name, limits in facts["area_ranges"].items()}
    ids = tuple(facts.get("category_ids", ()))  # runs of before had none
    info = DataInfo(tuple(facts["classes"]), tuple(facts["semantic_classes"]), ranges, ids)
    task = make_task(config, info)
    if not (path_of(workdir) / "checkpoints").exists():
        raise RunError(f"{workdir} has no checkpoint yet: go on with the command that began to train it")
    checkpoints = Checkpoints(workdir, task.best, read_only=True)
    step = checkpoints.best_step() if step is None else step
    if step is None:
        raise RunError(f"{workdir} has no checkpoint yet: go on with the command that began to train it")
    batch = empty_batch(task.inputs, mesh.size)
    params, model_state = jax.eval_shape(task.init, jax.random.key(0), batch)
    abstract = lambda tree: with_layout(tree, mesh, split_parameters=False)
    ema = abstract(params) if config.training.ema_decay > 0 else None
    params, model_state = checkpoints.restore_network(step, abstract(params), abstract(model_state), ema)
    checkpoints.close()
    return Network(config, info, task, params, model_state, step)
