"""The errors that a user can cause, and the sentence that names the likely intention.

Everything raised here is meant to be read by the person who typed the command or made the file: commands print it as one
message without a traceback. Anything else that escapes is a bug of this package.
"""

import difflib
from collections.abc import Iterable


class CnnvisionError(Exception):
    """Base of all errors caused by what the user gave: a config, a data set, a weight file, a run folder."""


class ConfigError(CnnvisionError):
    """A config file, key or value that cannot be used."""


class DataError(CnnvisionError):
    """A data set, or one file of it, that cannot be used."""


class WeightsError(CnnvisionError):
    """A weight file that cannot be read, or that does not fit the network."""


class RunError(CnnvisionError):
    """A run folder that cannot be used for what was asked."""


def check_range(key: str, value: float, least: float, most: float, why: str = "") -> float:
    """`value`, or a ConfigError that names the key where it lies outside [least, most]."""
    if not least <= value <= most:
        raise ConfigError(f"{key}: {value} is outside [{least:g}, {most:g}]{why and ', ' + why}")
    return float(value)


def check_whole(key: str, value: int, least: int, most: int) -> int:
    """`value`, or a ConfigError that names the key where it is no whole number in [least, most]."""
    if type(value) is not int:
        raise ConfigError(f"{key}: {value!r} must be a whole number")
    check_range(key, value, least, most)
    return value


def check_name(key: str, name: str, known: Iterable[str]) -> str:
    """`name`, or a ConfigError that names the key and the nearest right name."""
    known = list(known)
    if name not in known:
        raise ConfigError(f"{key}: there is no {name!r}.{nearest(name, known)}")
    return name


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends an error message: `` Did you mean 'x'?`` where one known name is near, and the list of the known names.

    Args:
        name: what the user wrote.
        known: the names that would have been right.

    Returns:
        A sentence that begins with a space.
    """
    known = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6) or difflib.get_close_matches(
        str(name).lower(), known, n=1, cutoff=0.6
    )
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'nothing'}."
