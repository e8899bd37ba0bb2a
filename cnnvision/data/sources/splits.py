"""Names of splits: which words mean which, in any case and company, and what stands for a split that is not there."""

import re
from collections.abc import Iterable

from cnnvision.data.faults import Findings
from cnnvision.errors import DataError, nearest

SPLIT_ALIASES = {"train": ("training",), "val": ("validation", "valid", "dev", "test", "testing"), "test": ("testing",)}
"""split asked for -> the names that are taken in its place, in this order, where it does not exist itself."""

SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
"""Words that mean a split where folders are called so."""

WHOLE = ""
"""Name of the one part of a data set that has no splits."""


def split_word(name: str) -> str | None:
    """The word of `SPLIT_FOLDERS` that a name is, or has beside others ("seg_train", "Training", "test_set", "train2017"),
    in small letters; None where it has none, or several ("train_test").
    """
    words = {word for word in re.split(r"[^a-z]+", name.casefold()) if word in SPLIT_FOLDERS}
    return words.pop() if len(words) == 1 else None


def resolve_split(name: str, split: str, available: Iterable[str], findings: Findings) -> str:
    """The split itself where it exists, else the one that stands for it; what is called otherwise is reported.

    For a split stand, in this order: its own name in another case; the one of its name with a year or a number; then the
    same of its aliases (`SPLIT_ALIASES`).

    Raises:
        DataError: there is none.
    """
    available = tuple(available)
    if split in available:
        return split
    for wanted in (split, *SPLIT_ALIASES.get(split, ())):
        dated = [s for s in available if _is_dated(s, wanted)]
        spelt = [s for s in available if s.casefold() == wanted.casefold()]
        within = [s for s in available if split_word(s) == wanted]
        fitting = [wanted] if wanted in available else spelt or dated or within
        if len(fitting) > 1:
            message = f"several splits are named like {wanted!r}, and {fitting[-1]!r} is used"
            findings.add(name, message, f"Name one of {', '.join(fitting)}.", "kept")
        if fitting and wanted != split:
            message = f"has no split {split!r}, so {fitting[-1]!r} is used for it"
            findings.add(name, message, f"Splits: {', '.join(available)}.", "kept")
        if fitting:
            return fitting[-1]
    raise DataError(f"{name} has no split {split!r}.{nearest(split, available)}{_cure(split, available)}")


def stands_for(split: str, available: Iterable[str]) -> str | None:
    """As `resolve_split`, without a word; None where there is none."""
    try:
        return resolve_split("", split, available, Findings())
    except DataError:
        return None


def _cure(split: str, available: tuple[str, ...]) -> str:
    keys = {"train": "train_split", "val": "eval_split"}
    return f" --config.data.{keys[split]}={available[0]} uses that." if split in keys and len(available) == 1 else ""


def _is_dated(name: str, wanted: str) -> bool:
    rest = name[len(wanted) :]
    return name.startswith(wanted) and bool(rest) and not rest[0].isalpha() and split_word(name) in (wanted, None)
