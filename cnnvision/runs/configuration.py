"""Config files and the values that a command line sets in them; everything wrong becomes one clear line."""

import ast
import importlib.util
import inspect
import pathlib
import traceback
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cnnvision.errors import ConfigError, nearest
from cnnvision.installation import CONFIGS
from cnnvision.runs.older import RENAMED
from cnnvision.settings import MOST

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


def find_config(name: str) -> pathlib.Path:
    """The config file that a path names, or a bare name: NAME.py in ./configs, else among those that come with cnnvision.

    Where there is no ./configs, configs/NAME.py is one that comes with cnnvision, too.
    """
    if not name:
        raise ConfigError("--config: which one? Give the path of a config file, or the name of one in configs")
    folders = (pathlib.Path("configs"), CONFIGS)
    path = pathlib.Path(name)
    bare = path.name == name and path.suffix != ".py"
    files = [folder / f"{name}.py" for folder in folders] if bare else [path]
    if path.parent == folders[0] and not folders[0].exists():
        files.append(CONFIGS / path.name)
    for file in files:
        if file.is_file():
            return file
    if bare and pathlib.Path(f"{name}.py").is_file():
        raise ConfigError(f"--config: there is no config {name}. Did you mean the file {name}.py?")
    beside = [] if bare else _files(path.parent) or _files(folders[0])
    names = {file.stem for folder in folders for file in _files(folder)} - {file.stem for file in beside}
    what = f"there is no {'config' if bare else 'file'} {name}"
    raise ConfigError(f"--config: {what}.{nearest(name, [*map(str, beside), *names])}")


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [file for file in folder.glob("*.py") if file.name != "__init__.py"]


def load_module(name: str) -> types.ModuleType:
    """The config file of a path or bare name, as a module. Raises ConfigError where it is missing, broken, or no config."""
    path = find_config(name)
    specification = importlib.util.spec_from_file_location(f"configs.{path.stem}", path)
    if specification is None:
        raise ConfigError(f"--config: {path} is no Python file; a config is configs/NAME.py")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever a config file does
        moved = isinstance(error, ImportError) and error.name in ("configs", "configs.common")
        hint = " (configs.common is cnnvision.runs.defaults now)" if moved else ""
        raise ConfigError(f"--config: {path} cannot be loaded: {_first_line(error)}{hint}") from error
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"--config: {path} has no function get_config(variant)")
    return module


def _first_line(error: Exception) -> str:
    """ "AttributeError: …", on one line."""
    return f"{type(error).__name__}: {str(error).strip() or '(no message)'}".splitlines()[0]


def _unknown_key(error: Exception) -> str:
    """One line on a key that a section does not have, where that was the error; else ""."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    section, key = frame.f_locals.get("self"), frame.f_locals.get("key", frame.f_locals.get("attribute"))
    unknown = isinstance(error, KeyError | AttributeError) and isinstance(section, ConfigDict) and isinstance(key, str)
    if not unknown or key in section:
        return ""
    for old, new in RENAMED.items():
        if old.split(".")[-1] == key and new.split(".")[-1] in section:
            return f"config.{old} is called config.{new} now"
    return f"there is no key {key!r}.{nearest(key, section.keys())}"


def split_variant(argument: str) -> tuple[str, str]:
    """ "configs/NAME.py:variant" or "NAME:variant" -> path or bare name, and variant ("" without one)."""
    path, colon, variant = argument.partition(".py:")
    if colon:
        return f"{path}.py", variant
    name, _, variant = argument.partition(":")
    return (argument, "") if {"/", "\\"} & {*argument} or argument.endswith(".py") else (name, variant)


def load_config(argument: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The config that a command line describes, locked.

    Args:
        argument: path or bare name of a config, with `:variant` where one is wanted.
        overrides: (dotted key without "config.", value as typed), applied in order.

    Raises:
        ConfigError: file, variant, key or value cannot be used.
    """
    path, variant = split_variant(argument)
    get_config = load_module(path).get_config
    first = next(iter(inspect.signature(get_config).parameters.values()), None)
    known = typing.get_args(first.annotation) if first else ("",)
    if known and variant not in known:
        raise ConfigError(f"--config: there is no variant {variant!r}.{nearest(variant, filter(None, known))}")
    try:
        config = get_config(variant) if first else get_config()
    except ConfigError:
        raise
    except Exception as error:  # whatever a config file does
        raise ConfigError(f"--config: get_config of {path}: {_unknown_key(error) or _first_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"--config: get_config of {path} returned {type(config).__name__}, not a ConfigDict")
    config.lock()
    for key, text in overrides:
        override(config, key, text)
    return config


def override(config: ConfigDict, key: str, text: str) -> None:
    """Sets one dotted key to a value as typed; the value must be of the type that the key has now."""
    node, path = config, key.split(".")
    for depth, name in enumerate(path):
        where = ".".join(["config", *path[:depth]])
        if not isinstance(node, ConfigDict):
            raise ConfigError(f"--config.{key}: {where} is a value, not a section")
        if name not in node:
            if key in RENAMED:
                raise ConfigError(f"--config.{key}: is called config.{RENAMED[key]} now")
            raise ConfigError(
                f"--config.{key}: {where} has no key {name!r}.{nearest(name, node.keys())}{elsewhere(config, name)}"
            )
        if depth < len(path) - 1:
            node = node[name]
    now = node[path[-1]]
    if isinstance(now, ConfigDict):
        raise ConfigError(f"--config.{key}: this is a section; set one of its keys: {', '.join(sorted(now.keys()))}")
    value = parse_value(f"--config.{key}", text, now)
    with node.unlocked():
        node[path[-1]] = value


def elsewhere(config: ConfigDict, name: str, path: str = "config") -> str:
    """ " It is at config.x.y." for the first section that has a key of this name, else ""."""
    for key, value in config.items():
        if key == name:
            return f" There is {path}.{key}."
        if isinstance(value, ConfigDict) and (found := elsewhere(value, name, f"{path}.{key}")):
            return found
    return ""


def parse_value(flag: str, text: str, now: Any) -> Any:
    """`text` as a value of the type of `now` (bool, int, float, str, tuple; of any type where that is None), or None."""
    wrong = lambda kind: ConfigError(f"{flag}: {text!r} is no {kind}; the config has {now!r}")
    if text == "None":  # the part that reads the key says whether it may be none
        return None
    if isinstance(now, bool):
        if text.lower() not in TRUE + FALSE:
            raise wrong("bool (true or false)")
        return text.lower() in TRUE
    if isinstance(now, str):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        value = text
    if isinstance(value, dict):
        raise wrong("value of a key")
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if isinstance(now, int):
        if not number or abs(value) == float("inf") or value != int(value):
            raise wrong("whole number")
        return int(value)
    if isinstance(now, float):
        if not number or (isinstance(value, int) and abs(value) > MOST):  # too many digits for a float
            raise wrong("number")
        return float(value)
    if isinstance(now, tuple | list):
        value = tuple(value) if isinstance(value, tuple | list) else (value,)
        if now and any(isinstance(item, str) for item in value) != any(isinstance(item, str) for item in now):
            raise wrong("list of such values")
        return value
    return value


def to_json(value: Any) -> Any:
    """A config (or a part of one) as what JSON can hold."""
    if isinstance(value, Mapping | ConfigDict):
        return {key: to_json(value[key]) for key in sorted(value.keys())}
    return [to_json(item) for item in value] if isinstance(value, tuple | list) else value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`: a locked ConfigDict, with tuples for lists."""
    if isinstance(value, dict):
        return ConfigDict({key: from_json(item) for key, item in value.items()}).lock()
    return tuple(from_json(item) for item in value) if isinstance(value, list) else value


def differences(before: Any, now: Any, path: str = "config") -> list[tuple[str, Any, Any]]:
    """(dotted key, value before, value now) for each leaf of two configs in JSON form that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted({*before, *now}):
            found += differences(before.get(key), now.get(key), f"{path}.{key}")
        return found
    return [] if before == now else [(path, before, now)]
