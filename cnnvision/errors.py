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


TRY_AGAIN = 75
"""Exit code of a run that stopped before its end, through no fault of its own: the same command goes on."""


class OtherProcessError(CnnvisionError):
    """Another process of the same run did not come, or is gone; commands exit with TRY_AGAIN."""


class Stopped(CnnvisionError):
    """It was asked to stop before its end, and what was done is saved; commands exit with TRY_AGAIN."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends an error message: `` Did you mean 'x'?`` where one known name is near, and the list of the known names.

    Args:
        name: what the user wrote.
        known: the names that would have been right.

    Returns:
        A sentence that begins with a space.
    """
    known = sorted(map(str, known))
    of_letters = {_letters(each): each for each in known if _letters(each)}
    close = difflib.get_close_matches(str(name), known, n=1) or [
        of_letters[each] for each in difflib.get_close_matches(_letters(str(name)), of_letters, n=1)
    ]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'nothing'}."


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: "a, b and c"; "" for none."""
    *others, last = [*names] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
