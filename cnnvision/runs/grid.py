"""A grid of runs in one folder: variants × seeds. Each cell is a run folder of its own, trained once.

    DIR/grid.json           which grid it is, and the command that makes it
    DIR/NAME/               a variant with the configs' own seed
    DIR/NAME_seed3/         the same with another seed
    DIR/NAME/failed.txt     why a cell could not be trained, until it is tried again

The same seeds are in all variants, so that comparisons are paired. A seed moves all that is random: the initialisation, the
order of the examples, augmentation, and what is drawn inside a step.
"""

import dataclasses
import inspect
import itertools
import json
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from cnnvision.errors import ConfigError, RunError
from cnnvision.evaluation import contributions
from cnnvision.installation import typed
from cnnvision.runs import defaults
from cnnvision.runs.config_json import MAY_CHANGE
from cnnvision.runs.configuration import differences, from_json, load_config, load_module, split_variant, to_json
from cnnvision.runs.older import as_of_now
from cnnvision.settings import check_name
from cnnvision.storage import write_whole
from cnnvision.training.checkpoint import Checkpoints
from cnnvision.training.evaluate import CONTRIBUTIONS

OF_SEED = re.compile(r"_seed\d+$")
"""Ends the name of a folder that has not the configs' own seed."""

GRID, FAILED = "grid.json", "failed.txt"
SEED = "training.seed"
MOST_SEEDS = 100

Keys = Sequence[tuple[str, str]]
"""(dotted key without "config.", value as typed), in the order in which they are set."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """What cells differ in beside the seed.

    Attributes:
        argument: of `--config`.
        keys: that are set in it.
        config: with them.
    """

    argument: str
    keys: Keys
    config: ConfigDict


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        variant: its name.
        seed: its `config.training.seed`.
        config: with this seed.
        folder: the run folder.
        flags: of the command `train` that trains this cell.
    """

    variant: str
    seed: int
    config: ConfigDict
    folder: epath.Path
    flags: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated to its last step."""
        return finished(self.folder)

    @property
    def failure(self) -> str:
        """Why it could not be trained when it was last tried; "" where nothing is known of that."""
        return failure(self.folder)

    @property
    def command(self) -> str:
        """The command that trains this cell alone."""
        quoted = (flag if re.fullmatch(r"[\w./:=+-]*", flag) else f"'{flag}'" for flag in self.flags)
        return typed(f"train {' '.join(quoted)}")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Variants × seeds in a folder.

    Attributes:
        folder: of all runs.
        what: the command that makes the grid, for the reader.
        base: what all variants have in common, as JSON; {} where that is nothing.
        variants: by name.
        seeds: of each of them.

    Raises:
        ConfigError: names that are no names of folders, variants that are the same config, seeds that cannot be.
    """

    folder: epath.Path
    what: str
    base: Mapping[str, Any]
    variants: Mapping[str, Variant]
    seeds: int = 1

    def __post_init__(self):
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise ConfigError(f"--seeds={self.seeds}: from 1 to {MOST_SEEDS}")
        configs = {name: to_json(variant.config) for name, variant in self.variants.items()}
        for name in configs:
            if not re.fullmatch(r"\w[\w .,=+()-]*", name) or OF_SEED.search(name):
                raise ConfigError(
                    f"variant {name!r}: it names a folder: letters, digits and any of _ . , = + - ( ), not ending in _seed1"
                )
        for (a, first), (b, second) in itertools.combinations(configs.items(), 2):
            if first == second:
                raise ConfigError(f"the variants {a!r} and {b!r} are the same config: nothing is to be compared")
            if folder_of(a) == folder_of(b):
                raise ConfigError(f"the variants {a!r} and {b!r} would share the folder {folder_of(a)}")

    def cells(self) -> list[Cell]:
        """All of them, the first seed of each variant first: a comparison can be looked at early."""
        return [self._cell(name, index) for index in range(self.seeds) for name in self.variants]

    def _cell(self, name: str, index: int) -> Cell:
        variant = self.variants[name]
        first = variant.config.training.seed
        folder = self.folder / (folder_of(name) + (f"_seed{first + index}" if index else ""))
        keys = [*variant.keys, *([(SEED, str(first + index))] if index else ())]
        config = to_json(variant.config)
        config["training"]["seed"] = first + index
        flags = (f"--config={variant.argument}", f"--workdir={folder}", *(f"--config.{key}={value}" for key, value in keys))
        return Cell(name, first + index, from_json(config), folder, flags)

    def check(self) -> None:
        """Raises RunError where the folder holds another grid. More variants and more seeds may come."""
        file = self.folder / GRID
        if not file.exists():
            return
        there = read(self.folder)
        changed = _changed(there["base"], self.base)
        for name in there["variants"].keys() & self.variants.keys():
            changed += _changed(there["variants"][name], to_json(self.variants[name].config), f"{name}: ")
        if changed:
            listed = "; ".join(f"{key}: {then!r} there, {now!r} now" for key, then, now in changed[:6])
            raise RunError(f"{self.folder} holds another grid ({listed}), of `{there['what']}`: give another --workdir")

    def write(self) -> None:
        """Writes grid.json."""
        variants = {name: to_json(variant.config) for name, variant in self.variants.items()}
        cells = [{"variant": cell.variant, "seed": cell.seed, "folder": cell.name} for cell in self.cells()]
        content = {"what": self.what, "base": to_json(self.base), "variants": variants, "cells": cells}
        write_whole(self.folder / GRID, json.dumps(content, indent=1))


def without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as JSON, without its seed and the keys that change nothing of a result (`config_json.MAY_CHANGE`)."""
    left_out = {SEED, *MAY_CHANGE}
    return {
        section: {key: value for key, value in keys.items() if f"{section}.{key}" not in left_out}
        for section, keys in config.items()
    }


def finished(folder: epath.Path) -> bool:
    """Whether the run of a folder is trained and evaluated to its last step."""
    file = folder / CONTRIBUTIONS
    if not file.exists() or not Checkpoints.exist(folder):
        return False
    about = contributions.read(file)[1]
    with Checkpoints(folder, read_only=True) as checkpoints:
        return about["step"] == about["steps"] == checkpoints.latest()


def failure(folder: epath.Path) -> str:
    """Why the run of a folder could not be trained when it was last tried; "" where nothing is known of that."""
    file = folder / FAILED
    return file.read_text().strip() if file.exists() else ""


def folder_of(variant: str) -> str:
    """The name of a variant's folder."""
    return variant.replace(" ", "_").lower()


def read(folder: epath.Path) -> dict[str, Any]:
    """The content of a folder's grid.json: what, base, variants, cells; an older version's configs in the keys of today.

    Raises:
        RunError: it cannot be read.
    """
    file = folder / GRID
    try:
        content = json.loads(file.read_text())
        kinds = {"what": str, "base": dict, "variants": dict, "cells": list}
        if wrong := [key for key, kind in kinds.items() if not isinstance(content[key], kind)]:
            raise ValueError(f"{wrong[0]!r} is no {kinds[wrong[0]].__name__}")
        now = lambda config: as_of_now(config, to_json(defaults.base()))
        variants = {name: now(config) for name, config in content["variants"].items()}
        return {**content, "base": now(content["base"]), "variants": variants}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "delete it; the command that made the grid writes it again"
        raise RunError(f"{file} cannot be read ({type(error).__name__}: {error}): {cure}") from error


def _changed(before: Any, now: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = differences(before, now)
    return [(prefix + key, *values) for key, *values in found if key.removeprefix("config.") not in MAY_CHANGE]


def of_sweep(argument: str, overrides: Keys, folder: epath.Path, seeds: int, what: str, name: str = "") -> Grid:
    """The grid of a config's `sweep()`.

    `sweep()` returns variants, name -> {key: value}; or factors, key -> a list of values: each is combined with each. Of
    several sweeps its argument tells which: `sweep(name: Literal["alpha", "box_loss"] = "alpha")`.

    Args:
        argument: of `--config`.
        overrides: keys that are set in all variants.
        folder, seeds, what: of the grid.
        name: which sweep; "" for the config's own choice.

    Raises:
        ConfigError: there is no such sweep, or it sets what cannot be set.
    """
    swept = variants_of(_swept(argument, name), argument)
    keys = {key for values in swept.values() for key in values}
    if SEED in keys:
        raise ConfigError(f"sweep() of {argument}: sets {SEED}; all variants have the same seeds, --seeds=N of them")
    if both := sorted(keys & {key for key, _ in overrides}):
        raise ConfigError(f"--config.{both[0]}: the sweep sets this key itself; change sweep() in the config")
    base, variants = load_config(argument, overrides), {}
    for name, values in swept.items():
        set_keys = [*overrides, *((key, str(value)) for key, value in values.items())]
        try:
            variants[name] = Variant(argument, set_keys, load_config(argument, set_keys))
        except ConfigError as error:
            raise ConfigError(f"{error} (The variant {name!r} of sweep() sets it.)") from error
    return Grid(folder, what, to_json(base), variants, seeds)


def _swept(argument: str, name: str) -> Any:
    """What the config's `sweep()` returns."""
    sweep = getattr(load_module(split_variant(argument)[0]), "sweep", None)
    if not callable(sweep):
        raise ConfigError(f"--config: {argument} has no sweep(); it returns a dict of name -> keys that it sets")
    first = next(iter(inspect.signature(sweep).parameters.values()), None)
    if name:
        check_name("--sweep", name, typing.get_args(first.annotation) if first else ())
    try:
        return sweep(name) if name else sweep()
    except Exception as error:  # whatever a config file does
        raise ConfigError(f"sweep() of {argument}: {type(error).__name__}: {error}") from error


def variants_of(sweep: Any, argument: str) -> dict[str, dict[str, Any]]:
    """Name -> keys of what a `sweep()` returned; see `of_sweep`."""
    wrong = ConfigError(
        f"sweep() of {argument}: must be a dict of name -> {{key: value}}, or of key -> list of values; it is {sweep!r:.80}"
    )
    if not isinstance(sweep, dict) or not sweep or not all(isinstance(name, str) for name in sweep):
        raise wrong
    if all(isinstance(values, dict) for values in sweep.values()):
        return sweep
    if not all(isinstance(values, list | tuple) for values in sweep.values()):
        raise wrong
    combined = (dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values()))
    return {",".join(f"{key.split('.')[-1]}={_short(value)}" for key, value in keys.items()): keys for keys in combined}


def _short(value: Any) -> str:
    """A value in a folder's name."""
    return re.sub(r"[^\w.+-]+", "_", str(value)).strip("_")
