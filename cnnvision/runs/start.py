"""The start of a run from the network of another run: `config.model.pretrained` names the other run's folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from cnnvision.errors import CnnvisionError, RunError
from cnnvision.pretrained.trained import backbone_fault, from_trained
from cnnvision.runs.configuration import differences, to_json
from cnnvision.runs.network import names_of, read_network
from cnnvision.storage import path_of
from cnnvision.task import DataInfo, Task

KEY = "config.model.pretrained"


def with_start(task: Task, config: ConfigDict, info: DataInfo, mesh: jax.sharding.Mesh) -> Task:
    """The task; where its config names a folder, one whose `warm_start` is from the run in it."""
    folder = config.model.get("pretrained")
    if not folder or not path_of(folder).is_dir():
        return task
    backbone, classes = to_json(config.model.get("backbone")), names_of(task, info)
    start = lambda params, model_state: from_run(folder, backbone, classes, params, model_state, mesh)
    return dataclasses.replace(task, warm_start=start)


def from_run(
    folder: epath.PathLike,
    backbone: Mapping[str, Any],
    classes: Sequence[str],
    params: Mapping[str, Any],
    model_state: Mapping[str, Any],
    mesh: jax.sharding.Mesh,
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same trees with what they have in common with a run's best checkpoint; and a report (pretrained/trained.py).

    Args:
        folder: of the run.
        backbone: `config.model.backbone` of the new network, in JSON form.
        classes: names of the classes that the new network predicts.
        params, model_state: of the new network as initialised.
        mesh: the devices.

    Raises:
        RunError: the folder is no run, has no checkpoint, or its run has another backbone.
    """
    try:
        there = read_network(folder, None, mesh)
    except CnnvisionError as error:
        raise RunError(
            f"{KEY} = {folder}: {str(error).rstrip('.')}. Give the folder of a trained run (with config.json and "
            "checkpoints/), or a file of weights."
        ) from error
    theirs = to_json(there.config.model.get("backbone")) or {}
    options = {name: difference for name, *difference in differences(theirs, backbone, "config.model.backbone")}
    run = jax.device_get((there.params, there.model_state))
    fault = backbone_fault((params, model_state), run)
    if "config.model.backbone.name" in options or fault:
        listed = "; ".join(f"{key}: {then!r} there, {now!r} here" for key, (then, now) in options.items())
        raise RunError(
            f"{KEY} = {folder}: the backbone of that run is another one ({listed or fault}). Give this config the same, or "
            "start from another run."
        )
    source = f"{folder}, step {there.step}"
    return from_trained((params, model_state), classes, run, names_of(there.task, there.info), source)
