"""What `config.data` may hold for the pipeline, read from a plain mapping or an ml_collections ConfigDict.

Every key is optional. A key or value that cannot be used raises a ConfigError that names it, with the nearest right one.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cnnvision.errors import ConfigError, nearest


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """Random changes of training images; the defaults change nothing.

    Attributes:
        flip: probability of mirroring left and right.
        flip_vertical: probability of mirroring top and bottom.
        crop_area: (least, most) area of the window that is cut out, as a fraction of the image's area. Above 1 the window
            is larger than the image (zoom out), and what lies outside is filled. Inception's crop: (0.08, 1).
        crop_aspect: (least, most) factor on the window's width / height, drawn evenly on a log scale.
        translate: the window moves by up to this fraction of its width and of its height, to either side.
        rotate: the image turns by up to this many degrees, to either side.
        zoom: resize "tile" only: (least, most) enlargement of the window, drawn evenly on a log scale.
        quarter_turns: resize "tile" only: turns by 0, 90, 180 or 270 degrees, each as likely; pixels fall on pixels.
        elastic: resize "tile" only: standard deviation of the displacements at the points of a grid, input pixels, between
            which the image is bent smoothly (Ronneberger et al. 2015, section 3.1: 10 pixels, a grid of 3).
        elastic_grid: points of that grid along each side.
        brightness: the factor on all values is drawn from 1 ± this.
        contrast: the factor on the distance from the image's mean grey is drawn from 1 ± this.
        saturation: the factor on the distance from each pixel's own grey is drawn from 1 ± this.
        hue: hues turn by up to this fraction of the circle, to either side; at most 0.5.
        fill: RGB of what lies outside the image; the default is ImageNet's mean, near 0 after normalisation.
        min_visible: an object is dropped where less than this fraction of its box stays in the input.
    """

    flip: float = 0.0
    flip_vertical: float = 0.0
    crop_area: tuple[float, float] = (1.0, 1.0)
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    rotate: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    quarter_turns: bool = False
    elastic: float = 0.0
    elastic_grid: int = 3
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    fill: tuple[int, int, int] = (124, 116, 104)
    min_visible: float = 0.25

    @classmethod
    def read(cls, mapping: Any, where: str = "config.data.augment") -> "AugmentOptions":
        """From a mapping; `where` stands in front of each key in messages. Raises ConfigError."""
        given = _entries(cls, mapping, where)
        for key in ("flip", "flip_vertical", "brightness", "contrast", "saturation", "min_visible"):
            _check_number(given, key, 0.0, 1.0, where)
        _check_number(given, "translate", 0.0, 0.9, where)
        _check_number(given, "rotate", 0.0, 180.0, where)
        _check_number(given, "hue", 0.0, 0.5, where)
        _check_number(given, "elastic", 0.0, 1000.0, where)
        _check_range(given, "zoom", 0.0, 16.0, where)
        _check_range(given, "crop_area", 0.0, 16.0, where)
        _check_range(given, "crop_aspect", 0.0, 16.0, where)
        if not isinstance(given.get("quarter_turns", False), bool):
            raise ConfigError(f"{where}.quarter_turns = {given['quarter_turns']!r}: must be true or false.")
        if "elastic_grid" in given and not (_is_integer(given["elastic_grid"]) and 2 <= given["elastic_grid"] <= 64):
            raise ConfigError(f"{where}.elastic_grid = {given['elastic_grid']!r}: must be an integer in 2 … 64.")
        if "fill" in given:
            fill = given["fill"]
            if not _is_list(fill) or len(fill) != 3 or not all(_is_integer(v) and 0 <= v <= 255 for v in fill):
                raise ConfigError(f"{where}.fill = {fill!r}: must be three integers in 0 … 255, an RGB colour.")
            given["fill"] = tuple(int(value) for value in fill)
        return cls(**given)

    def check_resize(self, resize: str, where: str = "config.data.augment") -> None:
        """Raises ConfigError where an option is set that does nothing with this `resize`: it would be taken for done."""
        for key in ("crop_area", "crop_aspect", "translate") if resize == "tile" else ("zoom", "quarter_turns", "elastic"):
            if getattr(self, key) != getattr(AugmentOptions(), key):
                other = "for other ways to resize" if resize == "tile" else 'for resize "tile" alone'
                raise ConfigError(
                    f"{where}.{key} = {getattr(self, key)!r}: is {other}, and config.data.resize is {resize!r}"
                )


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How batches are made and loaded.

    Attributes:
        batch_size: examples of a training step, over all processes together.
        eval_batch_size: the same when evaluating.
        augment: see `AugmentOptions`; training only.
        workers: processes that load batches; 0 loads in threads of this process.
        threads: that load batches, in this process or in each worker; 0 loads when a batch is asked for.
        prefetch: batches held ready, in this process or for each worker.
        cache_mb: megabytes (2^20 bytes) of decoded images kept in memory, in this process or in each worker.
    """

    batch_size: int = 32
    eval_batch_size: int = 64
    augment: AugmentOptions = dataclasses.field(default_factory=AugmentOptions)
    workers: int = 0
    threads: int = dataclasses.field(default_factory=lambda: min(4, os.cpu_count() or 1))
    prefetch: int = 4
    cache_mb: int = 0

    @classmethod
    def read(cls, mapping: Any, where: str = "config.data") -> "DataOptions":
        """From a mapping; `where` stands in front of each key in messages. Raises ConfigError."""
        if isinstance(mapping, cls):
            return mapping
        given = _entries(cls, mapping, where, READ_ELSEWHERE)
        for key, (least, most) in _INTEGERS.items():
            if key in given and not (_is_integer(given[key]) and least <= given[key] <= most):
                raise ConfigError(f"{where}.{key} = {given[key]!r}: must be an integer in {least} … {most}.")
        if "augment" in given:
            given["augment"] = AugmentOptions.read(given["augment"], f"{where}.augment")
        return cls(**given)


READ_ELSEWHERE = ("source", "train_split", "eval_split", "eval_examples", "size", "resize", "margin")
"""Keys of `config.data` that say which examples there are and what a model wants of them, not how batches are made."""

_INTEGERS = {
    "batch_size": (1, 2**20),
    "eval_batch_size": (1, 2**20),
    "workers": (0, 1024),
    "threads": (0, 1024),
    "prefetch": (1, 1024),
    "cache_mb": (0, 2**30),
}


def _entries(cls: type, mapping: Any, where: str, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping as a dict whose keys are fields of `cls`, without `others`; an instance of `cls` gives its own values."""
    if isinstance(mapping, cls):
        return {field.name: getattr(mapping, field.name) for field in dataclasses.fields(cls)}
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping) and not hasattr(mapping, "items"):
        raise ConfigError(f"{where} = {mapping!r}: must be a mapping of options.")
    known = [field.name for field in dataclasses.fields(cls)]
    for key in mapping.keys():
        if key not in known and key not in others:
            raise ConfigError(f"{where}.{key}: there is no such option.{nearest(key, known)}")
    return {key: value for key, value in mapping.items() if key in known}


def _check_number(given: dict[str, Any], key: str, least: float, most: float, where: str) -> None:
    if key in given and not (_is_number(given[key]) and least <= given[key] <= most):
        raise ConfigError(f"{where}.{key} = {given[key]!r}: must be a number in [{least:g}, {most:g}].")


def _check_range(given: dict[str, Any], key: str, above: float, most: float, where: str) -> None:
    """Leaves a tuple of two floats under `key`, if it was given."""
    if key not in given:
        return
    value = given[key]
    if not _is_list(value) or len(value) != 2 or not all(_is_number(v) for v in value):
        raise ConfigError(f"{where}.{key} = {value!r}: must be two numbers (least, most).")
    if not above < value[0] <= value[1] <= most:
        raise ConfigError(f"{where}.{key} = {tuple(value)!r}: must hold {above:g} < least <= most <= {most:g}.")
    given[key] = (float(value[0]), float(value[1]))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
