"""A run folder opened again, or a file of a whole network's weights in its place: a network that is ready to predict."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from etils import epath
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from cnnvision.data.sources import open_source
from cnnvision.errors import ConfigError, WeightsError, listed
from cnnvision.models import make_task
from cnnvision.pretrained.class_names import CURE, class_names, imagenet_names, imagenet_names_in
from cnnvision.pretrained.loading import find_weights
from cnnvision.pretrained.torch_files import read_weights
from cnnvision.pretrained.trained import layers_in_words
from cnnvision.runs.join import check_config, check_size, empty_batch, first, open_for
from cnnvision.runs.network import Network, read_network
from cnnvision.storage import path_of
from cnnvision.task import DataInfo
from cnnvision.training.checkpoint import with_layout
from cnnvision.training.metric_log import read_entries
from cnnvision.training.sharding import from_first, make_mesh
from cnnvision.types import COCO_AREA_RANGES, Source


@dataclasses.dataclass(frozen=True)
class Trained(Network):
    """A network from a run folder or a file of weights, ready to predict.

    Attributes: those of `Network`, with the step 0 of a file of weights;
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


def from_weights(
    config: ConfigDict,
    data: tuple[str, str] | None = None,
    mesh: jax.sharding.Mesh | None = None,
    say: Callable[[str], None] = print,
) -> Trained:
    """Opens a file with the weights of a whole network, `config.model.pretrained`, as if it were a run.

    Its classes are those that such a file is published for (pretrained/class_names.py).

    Args:
        config: the network; of `data` what images are brought to.
        data: (source, split) that it is to be evaluated on, where classes are matched by name.
        mesh: the devices.
        say: is told what was taken of the file, and what was not.

    Raises:
        ConfigError: the config names no file, or cannot be used.
        WeightsError: the file cannot be read or does not fit; it lacks layers of the network, which would be untrained; or
            nobody knows what its classes are called, by which `data` would be matched.
    """
    mesh = mesh or make_mesh()
    check_config(config, mesh.size)
    weights, backbone = config.model.get("pretrained"), config.model.get("backbone", {}).get("name", "")
    if not weights:
        raise ConfigError(
            f"config.model.pretrained = {weights}: the network would be untrained; --config.model.pretrained=FILE names its "
            f"weights. {CURE}"
        )
    if path_of(weights).is_dir():
        raise ConfigError(
            f"config.model.pretrained = {weights}: is a folder, and here a file of weights is needed; a run is opened with "
            f"--workdir={weights}, without --config"
        )
    jax.config.update("jax_default_matmul_precision", config.training.matmul_precision)
    info = DataInfo(_classes(weights, backbone, data), area_ranges=dict(COCO_AREA_RANGES))
    task = make_task(config, info)
    check_size(task, config)
    # Shapes without values: what the file does not fill stays without.
    network = jax.eval_shape(task.init, jax.random.key(0), empty_batch(task, mesh.size))
    params, model_state, report = task.warm_start(*network)
    _check_filled(params, weights, report)
    say(report)
    layout = with_layout(network, mesh, split_parameters=False)
    params, model_state = from_first((params, model_state), layout)
    return Trained(config, info, task, params, model_state, 0, mesh)


def _classes(weights: str, backbone: str, data: tuple[str, str] | None) -> tuple[str, ...]:
    file = find_weights(weights, backbone)
    names = class_names(read_weights(file), backbone, file, known=data is not None)
    if data is None or names != imagenet_names():
        return names
    return imagenet_names_in(open_source(*data).classes)


def _check_filled(params: Any, weights: str, report: str) -> None:
    """Raises WeightsError where some of the network's parameters are shapes without values."""
    leaves = flatten_dict(params)
    empty = [path[:-1] for path, leaf in leaves.items() if isinstance(leaf, jax.ShapeDtypeStruct)]
    if empty:
        lacking = listed(layers_in_words(empty, [path[:-1] for path in leaves]))
        raise WeightsError(
            f"{weights}: has no weights for {lacking} of the network, which would be untrained. {CURE} {report}"
        )
