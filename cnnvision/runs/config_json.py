"""A run folder's `config.json`: the config, facts of the data, and the versions of what made the run."""

import dataclasses
import json
import platform
from importlib import metadata
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

import cnnvision
from cnnvision.errors import RunError
from cnnvision.installation import typed
from cnnvision.runs.configuration import differences, to_json
from cnnvision.runs.older import as_of_now
from cnnvision.storage import path_of, write_whole
from cnnvision.task import DataInfo
from cnnvision.training.checkpoint import Checkpoints

MAY_CHANGE = (
    *("data.source", "data.threads", "data.workers", "data.prefetch", "data.cache_mb"),
    *("training.keep", "training.profile_steps"),
)
"""Keys that change nothing of a run's result, so that a run may go on with other values: a folder of data may have moved.
What is in it is compared by its fingerprint (cnnvision/data/fingerprint.py)."""

NEEDED = {
    "config": ("model", "data", "training", "optimizer"),
    "data": ("classes", "semantic_classes", "area_ranges"),
    "versions": (),
}
"""Section -> keys without which a config.json cannot be read."""


def check(config: ConfigDict, info: DataInfo, workdir: epath.Path) -> None:
    """Raises RunError where the folder holds a run of another config, or of other classes."""
    if not (workdir / "config.json").exists():
        if Checkpoints.exist(workdir):
            raise RunError(
                f"{workdir} has checkpoints, but no config.json that says of what. Restore the file, or train in "
                "another folder."
            )
        return
    there = read(workdir)
    changed = [
        difference
        for difference in differences(there["config"], to_json(config))
        if difference[0].removeprefix("config.") not in MAY_CHANGE
    ]
    for key in ("classes", "semantic_classes"):
        changed += differences(there["data"][key], to_json(getattr(info, key)), f"the data's {key}")
    if changed:
        listed = "; ".join(f"{key}: {then!r} there, {now!r} now" for key, then, now in changed[:6])
        raise RunError(
            f"{workdir} holds a run of another config ({listed}). A run cannot change on the way: give another "
            "--workdir, or the values that the folder's config.json has."
        )


def write(config: ConfigDict, info: DataInfo, workdir: epath.Path) -> None:
    """Writes `config.json` where there is none; on several hosts, the first does."""
    path = workdir / "config.json"
    if path.exists() or jax.process_index() != 0:
        return
    text = json.dumps(
        {
            "config": to_json(config),
            "data": to_json(dataclasses.asdict(info)),
            "versions": versions(),
            "devices": [jax.device_count(), jax.devices()[0].device_kind],
        },
        indent=1,
    )
    write_whole(path, text)


def versions() -> dict[str, str]:
    """Of what makes a run."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")
    installed = {name: metadata.version(name) for name in names}
    return {"cnnvision": cnnvision.__version__, "python": platform.python_version(), **installed}


def read(workdir: epath.PathLike) -> dict[str, Any]:
    """The content of a run folder's config.json; an older version's config comes in the keys of today.

    Raises:
        RunError: the folder is no run, or the file was changed.
    """
    from cnnvision.runs.defaults import base

    path = path_of(workdir) / "config.json"
    if not path.exists():
        raise RunError(f"{workdir} is no run folder: it has no config.json. `{typed('train')}` makes one.")
    try:
        content = json.loads(path.read_text())
        for section, keys in NEEDED.items():
            for key in keys:
                content[section][key]
        return {**content, "config": as_of_now(content["config"], to_json(base()))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not as `{typed('train')}` wrote it ({type(error).__name__}: {error}). Restore it, or train in "
            "another folder."
        ) from error
