"""A run folder opened again: its network, ready to predict."""

import dataclasses

import jax
from etils import epath

from cnnvision.runs.join import first, open_for
from cnnvision.runs.network import Network, read_network
from cnnvision.training.metric_log import read_entries
from cnnvision.training.sharding import make_mesh
from cnnvision.types import Source


@dataclasses.dataclass(frozen=True)
class Trained(Network):
    """A network from a run folder, ready to predict.

    Attributes: those of `Network`;
        mesh: the devices.
        threshold: the score from which on detections are drawn: the best of the evaluation at this step, or of the last one
            before it; 0.5 where there was none.
    """

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
    network = read_network(workdir, step, mesh)
    jax.config.update("jax_default_matmul_precision", network.config.training.matmul_precision)
    before = [entry for entry in read_entries(workdir) if entry["step"] <= network.step and "score_threshold" in entry]
    threshold = before[-1]["score_threshold"] if before else 0.5
    return Trained(**vars(network), mesh=mesh, threshold=threshold)
