"""Configs of older versions: keys that have another name now, values that meant none, keys that were not there yet."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "data.fit": "data.resize",
    "model.average": "model.tta",
    "training.average_decay": "training.ema_decay",
}
"""Dotted key of an older version -> its name now."""

VALUE_NOW = {
    "data.margin": {-1: None},
    "data.eval_examples": {0: None},
    "optimizer.clip_norm": {0.0: None},
    "model.pretrained": {"": None},
    "model.stride": {0: None},
    "model.samples": {0: None},
    "model.decoder.widths": {(): None},
    "model.regions.samples": {0: None},
    "model.svm.examples": {0: None},
    "model.boxes.examples": {0: None},
    "model.loss.border_background": {"": None},
}
"""Dotted key of today -> value of an older version -> what says the same now."""


def as_of_now(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A config in JSON form, as any version wrote it -> in the keys and values of this one.

    Args:
        config: sections by name.
        defaults: the config that every experiment begins with, in JSON form.
    """
    return completed(with_values_of_now(renamed(config)), defaults)


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with today's name for each key of `RENAMED`."""
    config = _copy(config)
    for old, new in RENAMED.items():
        section, key = _section(config, old)
        if section is not None and key in section:
            value = section.pop(key)
            section, key = _section(config, new, make=True)
            section[key] = value
    return config


def with_values_of_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with today's value for each of `VALUE_NOW`."""
    config = _copy(config)
    for dotted, values in VALUE_NOW.items():
        section, key = _section(config, dotted)
        value = None if section is None else section.get(key)
        if value == [] or isinstance(value, str | int | float):
            section[key] = values.get(() if value == [] else value, value)
    return config


def completed(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the keys that its run did not have yet, in the sections that it has: their default is what held."""

    def added(there: Any, default: Any) -> Any:
        if not (isinstance(there, dict) and isinstance(default, dict)):
            return there
        return {**default, **{key: added(value, default.get(key)) for key, value in there.items()}}

    return {name: added(section, defaults.get(name)) for name, section in config.items()}


def _copy(config: Any) -> Any:
    return {key: _copy(value) for key, value in config.items()} if isinstance(config, dict) else config


def _section(config: dict[str, Any], dotted: str, make: bool = False) -> tuple[dict[str, Any] | None, str]:
    """The section that a dotted key belongs to (None where there is none), and the key's last name."""
    *path, key = dotted.split(".")
    for name in path:
        config = config.setdefault(name, {}) if make else config.get(name)
        if not isinstance(config, dict):
            return None, key
    return config, key
