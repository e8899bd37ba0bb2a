"""Settings: what a config may hold for one part, stated once, as a dataclass beside the part; and the one reader of them.

    @dataclasses.dataclass(frozen=True)
    class RoIs:
        size: Annotated[int, Between(1, 64)] = 7  # bins along each side
        pooling: Literal["align", "max"] = "align"

    rois = read(RoIs, config.model.rois, "config.model.rois")

A field's type says what is right: bool, int (2.5 and True are no whole numbers), float, str, `Literal`, tuples, other
settings, `X | None`, each with `Between` where it has bounds. A key that a section lacks has the field's default. What is
wrong raises a ConfigError that names the key, the value and what would be right. A rule between fields stands in
`__post_init__`, as a ConfigError whose message begins with the field's name.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from cnnvision.errors import ConfigError, nearest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Between:
    """Bounds of a number, or of a tuple's numbers. Attributes: least, most: both included; why: ends the error."""

    least: float
    most: float
    why: str = ""


MOST = 1e300
"""The largest number that a config may hold."""
Count = Annotated[int, Between(1, 10**6)]
Share = Annotated[float, Between(0, 1)]
Weight = Annotated[float, Between(0, 10**6)]
Dropout = Annotated[float, Between(0, 0.99)]
Dtype = Literal["float32", "bfloat16", "float16"]
"""Of arithmetic. Parameters, losses and boxes are float32 whatever it is."""


def read(kind: type[T], section: Any, where: str) -> T:
    """The settings that a section of a config holds.

    Args:
        kind: the dataclass.
        section: a mapping (or ConfigDict) of its fields; or settings of this kind, which come back as they are.
        where: the section's dotted key, for errors.

    Raises:
        ConfigError: a key that is no field, or a value that is not of its field's type or beyond its bounds.
    """
    if isinstance(section, kind):
        return section
    if not hasattr(section, "items"):
        raise ConfigError(f"{where} = {_short(section)}: must be a section with keys {', '.join(_fields(kind))}")
    values = checked(kind, dict(section.items()), where)
    try:
        return kind(**values)
    except ConfigError as error:  # it begins with the field
        raise ConfigError(f"{where}.{error}") from error


def checked(kind: type, options: Mapping[str, Any], where: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options for `kind`, a dataclass (a linen module is one, too), each of its field's type; errors as of `read`.

    Args:
        without: fields that no config sets.
    """
    fields = {name: field for name, field in _fields(kind).items() if name not in without}
    for name in options:
        if name not in fields:
            raise ConfigError(f"{where}.{name}: there is no such key.{nearest(name, fields)}")
    return {name: _value(fields[name].type, value, f"{where}.{name}") for name, value in options.items()}


def as_section(settings: Any) -> dict[str, Any]:
    """The section of a config that reads as these settings: nested dicts."""
    return dataclasses.asdict(settings)


def check_name(key: str, name: str, known: Iterable[str]) -> str:
    """`name`, or a ConfigError that names the key and the nearest right name."""
    known = list(known)
    if name not in known:
        raise ConfigError(f"{key}: there is no {name!r}.{nearest(name, known)}")
    return name


def _fields(kind: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(kind) if field.init}


def _value(kind: Any, value: Any, key: str, bounds: Between | None = None, or_none: str = "") -> Any:
    """The value as a `kind`, or a ConfigError; `or_none` ends it where None is right, too."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    wrong = lambda what: ConfigError(f"{key} = {_short(value)}: must be {what}{or_none}")
    if origin is Annotated:
        return _value(
            arguments[0], value, key, next((each for each in arguments[1:] if isinstance(each, Between)), bounds), or_none
        )
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        if isinstance(value, str) and value.lower() in ("none", "null", ""):
            raise wrong("None, without quotes, where there is to be none")
        return _value(next(each for each in arguments if each is not type(None)), value, key, bounds, ", or None")
    if origin is Literal:
        if value not in arguments or type(value) not in {type(each) for each in arguments}:
            raise ConfigError(f"{key}: there is no {_short(value)}.{nearest(value, arguments)}")
        return value
    if origin is dict or dataclasses.is_dataclass(kind):
        if not hasattr(value, "items") and not isinstance(value, kind if origin is None else dict):
            raise wrong(f"a section{'' if origin is dict else ' with keys ' + ', '.join(_fields(kind))}")
        return dict(value.items()) if origin is dict else read(kind, value, key)
    if origin is tuple:
        return _tuple(arguments, value, key, bounds)
    if kind in (int, float):
        spelled = f" in {bounds.least:,} … {bounds.most:,}" if bounds else ""
        bounds = bounds or Between(-MOST, MOST)
        right = type(value) is int or (kind is float and isinstance(value, float))
        if not right or not bounds.least <= value <= bounds.most:
            raise wrong(f"{'a whole number' if kind is int else 'a number'}{spelled}{bounds.why and ', ' + bounds.why}")
        return kind(value)
    if kind in (bool, str) and type(value) is not kind:
        raise wrong("true or false" if kind is bool else "a string")
    return value


def _short(value: Any) -> str:
    """The value in one line."""
    return " ".join(repr(value).split())


def _tuple(kinds: tuple[Any, ...], value: Any, key: str, bounds: Between | None) -> tuple[Any, ...]:
    """A tuple[X, ...], or one of fixed length."""
    if not isinstance(value, tuple | list):
        raise ConfigError(f"{key} = {_short(value)}: must be a tuple")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ConfigError(f"{key} = {tuple(value)!r}: must be a tuple of {len(kinds)}")
    return tuple(_value(kind, each, key, bounds) for kind, each in zip(kinds, value, strict=True))
