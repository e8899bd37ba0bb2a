"""Which config a run is of, how it differs from that, and the command that repeats it."""

import inspect
import pathlib
import re
import shlex
import typing
from collections.abc import Mapping
from typing import Any

from cnnvision.errors import CnnvisionError
from cnnvision.installation import CONFIGS, typed
from cnnvision.runs.configuration import differences, load_config, load_module, to_json

Differences = list[tuple[str, Any, Any]]
"""(dotted key, value in the config file, value here)."""


def difference_from(argument: str, config: Mapping[str, Any]) -> Differences | None:
    """How a config (JSON) differs from that of a config file; None where there is no such file."""
    try:
        return differences(to_json(load_config(argument)), config)
    except CnnvisionError:
        return None


def nearest_config(config: Mapping[str, Any]) -> tuple[str, Differences]:
    """Of the configs of the same model the one that a run differs from in the fewest keys; ("", []) where there is none.

    Configs are those in ./configs and those that come with cnnvision, each with its variants.
    """
    best: tuple[str, Differences] = ("", [])
    for argument in _arguments(str(config["model"].get("name", ""))):
        found = difference_from(argument, config)
        if found is not None and (not best[0] or len(found) < len(best[1])):
            best = argument, found
        if best[0] and not best[1]:
            break
    return best


def _arguments(model: str) -> list[str]:
    """`--config` of each config file whose text speaks of a model, and of its variants."""
    files = {file.stem: file for folder in (CONFIGS, pathlib.Path("configs")) for file in sorted(folder.glob("*.py"))}
    arguments = []
    for name, file in files.items():
        if name == "__init__" or not re.search(rf"\b{re.escape(model)}\b", file.read_text(errors="replace")):
            continue
        try:
            first = next(iter(inspect.signature(load_module(name).get_config).parameters.values()), None)
        except CnnvisionError:
            continue
        variants = typing.get_args(first.annotation) if first else ()
        arguments += [f"{name}:{variant}" if variant else name for variant in variants or ("",)]
    return arguments


def command_of(argument: str, changed: Differences, config: Mapping[str, Any], workdir: Any) -> str:
    """The command that trains a run again; "" where the command line cannot express how it differs from the config."""
    overrides = [(key.removeprefix("config."), _text(value)) for key, _, value in changed]
    try:
        if differences(to_json(load_config(argument, overrides)), config):
            return ""
    except CnnvisionError:
        return ""
    keys = [f"--config.{key}={value}" for key, value in overrides]
    return typed(f"train {shlex.join([f'--config={argument}', f'--workdir={workdir}', *keys])}")


def _text(value: Any) -> str:
    return repr(tuple(value)) if isinstance(value, list) else str(value)
