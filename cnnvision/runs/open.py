"""A run folder opened again: its network, ready to predict."""

import dataclasses
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from cnnvision.errors import RunError
from cnnvision.models import make_task
from cnnvision.runs import config_json
from cnnvision.runs.configuration import from_json
from cnnvision.runs.join import empty_batch, first, open_for
from cnnvision.task import DataInfo, Task
from cnnvision.training.checkpoint import Checkpoints, with_layout
from cnnvision.training.metric_log import read_entries
from cnnvision.training.sharding import make_mesh
from cnnvision.types import Source


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network from a run folder, ready to predict.

    Attributes:
        config, info, task: what it is.
        params, model_state: on the mesh.
        step: of the checkpoint.
        mesh: the devices.
        threshold: the score from which on detections are drawn: the best of the evaluation at this step, or of the last one
            before it; 0.5 where there was none.
    """

    config: ConfigDict
    info: DataInfo
    task: Task
    params: Any
    model_state: Any
    step: int
    mesh: jax.sharding.Mesh
    threshold: float = 0.5


def evaluated(trained: Trained) -> Source:
    """The examples that a run is evaluated on."""
    data = trained.config.data
    return first(open_for(trained.task, trained.info, data.source, data.eval_split), data.eval_examples)


def load(workdir: epath.PathLike, step: int | None = None, mesh: jax.sharding.Mesh | None = None) -> Trained:
    """Opens a run folder: the checkpoint of `step`, or the best one.

    Raises:
        RunError: no run folder, no checkpoint, or none of that step.
    """
    mesh = mesh or make_mesh()
    content = config_json.read(workdir)
    config, facts = from_json(content["config"]), content["data"]
    ranges = {name: tuple(limits) for name, limits in facts["area_ranges"].items()}
    info = DataInfo(tuple(facts["classes"]), tuple(facts["semantic_classes"]), ranges)
    task = make_task(config, info)
    jax.config.update("jax_default_matmul_precision", config.training.matmul_precision)
    if not (epath.Path(workdir) / "checkpoints").exists():
        raise RunError(f"{workdir} has no checkpoint yet: go on with the command that began to train it")
    checkpoints = Checkpoints(workdir, task.best, read_only=True)
    step = checkpoints.best_step() if step is None else step
    if step is None:
        raise RunError(f"{workdir} has no checkpoint yet: go on with the command that began to train it")
    batch = empty_batch(task, mesh.size)
    params, model_state = jax.eval_shape(task.init, jax.random.key(0), batch)
    abstract = lambda tree: with_layout(tree, mesh, split_parameters=False)
    ema = abstract(params) if config.training.ema_decay > 0 else None
    params, model_state = checkpoints.restore_network(step, abstract(params), abstract(model_state), ema)
    checkpoints.close()
    before = [entry for entry in read_entries(workdir) if entry["step"] <= step and "score_threshold" in entry]
    threshold = before[-1]["score_threshold"] if before else 0.5
    return Trained(config, info, task, params, model_state, step, mesh, threshold)
