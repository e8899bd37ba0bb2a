"""Processes of one run say to each other what they are about to do, before they do it: processes that differ would train a
network that nobody asked for, or wait for each other for ever."""

import functools
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

import cnnvision
from cnnvision.data.order import fingerprint
from cnnvision.errors import RunError
from cnnvision.runs import config_json
from cnnvision.runs.configuration import differences, to_json
from cnnvision.runs.join import join
from cnnvision.training.loop import abstract_state
from cnnvision.training.run import Run
from cnnvision.training.sharding import check_split

LISTED = 4
"""Differences that are named."""


def join_together(config: ConfigDict, workdir: epath.PathLike, say=print) -> Run:
    """The run of a config (`join`), once all processes have found the same. All processes call it.

    Raises:
        RunError: one has another config, other data, code or versions, or another number of devices; or another one cannot
            join. Where this one cannot, its own error.
    """
    check_devices([device.process_index for device in jax.devices()])
    run, error = None, None
    try:
        run = join(config, workdir, say=say)
        if config.training.split_parameters:
            check_split(abstract_state(run), run.mesh)
    except Exception as found:  # of whatever kind: the others are not to wait for this one
        error = found
    if jax.process_count() > 1:
        agree(facts_of(config, workdir, run) if run else {}, error)
    if error:
        raise error
    return run


def check_devices(owners: Sequence[int]) -> None:
    """Raises RunError where processes have unequal numbers of devices.

    Args:
        owners: of all devices of the run, the process that each belongs to.
    """
    counts = Counter(owners)
    usual = Counter(counts.values()).most_common(1)[0][0]
    different = [f"process {index} has {count}" for index, count in sorted(counts.items()) if count != usual]
    if different:
        raise RunError(
            f"the processes of this run have different numbers of devices: {'; '.join(different[:LISTED])}; the usual "
            f"number is {usual}. Each gets an equal share of a batch: start all on hosts with equally many devices."
        )


def facts_of(config: ConfigDict, workdir: epath.PathLike, run: Run) -> dict[str, Any]:
    """What must be the same on all processes, as JSON values."""
    values = to_json(config)
    for key in config_json.MAY_CHANGE:  # where the data lie, and how they are read, is each machine's own
        section, _, name = key.partition(".")
        values[section].pop(name, None)
    return {
        "--workdir": str(workdir),
        "config": values,
        "the training data": run.fingerprint,
        "the evaluation data": fingerprint([*run.evaluation.source.classes, "", *map(str, run.evaluation.source.ids)]),
        "versions": config_json.versions(),
        "the code of cnnvision": code_digest(),
    }


def agree(facts: dict[str, Any], error: Exception | None = None) -> None:
    """Compares what the processes know.

    Raises:
        RunError: another process has an error, and this one has none; or the facts of one are not those of the first.
    """
    found = _of_all({"facts": facts, "error": None if error is None else str(error)})
    failed = [index for index, each in enumerate(found) if each["error"] is not None]
    if failed:
        if error is None:
            raise RunError(f"process {failed[0]} of {len(found)} cannot take part: {found[failed[0]]['error']}")
        return
    for index, each in enumerate(found):
        different = [(key.lstrip("."), *values) for key, *values in differences(found[0]["facts"], each["facts"], "")]
        if different:
            listed = "; ".join(f"{key}: {a!r} on process 0, {b!r} on process {index}" for key, a, b in different[:LISTED])
            more = f"; and {len(different) - LISTED} more" if len(different) > LISTED else ""
            cure = "Start all with the same command, code and data."
            raise RunError(f"the processes of this run do not do the same: {listed}{more}. {cure}")


def _of_all(value: Any) -> list[Any]:
    """A JSON value of every process, by its index."""
    mine = np.frombuffer(json.dumps(value, default=str).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(mine)], np.int32))).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(mine)] = mine
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


@functools.cache
def code_digest(root: pathlib.Path = pathlib.Path(cnnvision.__file__).parent) -> str:
    """Of the Python files of a package, this one by default."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
