"""A split of a data set that has none: the part of it that division.py, or a file ``split.csv``, says."""

import os
import pathlib
from collections.abc import Callable, Sequence

from cnnvision.data.faults import Findings, refuse, refuse_empty
from cnnvision.data.sources.division import FILE, divide, read_division
from cnnvision.data.sources.splits import stands_for
from cnnvision.data.wrappers.subset import Subset
from cnnvision.types import Source

PARTS = ("train", "val")
EVALUATED = ("val", "test")
_last: dict[tuple[object, ...], dict[str, str]] = {}
"""The division that was made last: train and val are opened one after the other."""


class Divided(Subset):
    """A `Source` of one side of a data set without splits.

    Args:
        source: the whole.
        split: "train" or "val".
        sides: of all its ids.
        file: where `sides` is written, "" where it is not.

    Raises:
        EmptyDataError: this side has no example.
    """

    def __init__(self, source: Source, split: str, sides: dict[str, str], file: str):
        indices = [index for index, id in enumerate(source.ids) if sides.get(id) == split]
        super().__init__(source, indices)
        self.split, self.records = split, tuple(source.records[index] for index in indices)
        counts = [sum(side == part for side in sides.values()) for part in PARTS]
        findings = Findings()
        by = f"as {file} has it" if file else "by the content of the files, near copies on one side, classes in proportion"
        message = f"there are no splits train and val, so {counts[0]} images are train and {counts[1]} val, {by}"
        cure = f"`doctor --split-file=DIR/{FILE}` writes which is which, to be kept or changed."
        findings.add(source.name, message, cure, "kept")
        left = [id for id in source.ids if sides.get(id) not in PARTS] if file else []
        if left:
            cure = "Write train or val for each file."
            findings.add(file, f"{len(left)} images are on neither side, and are not used", cure, "left out", value=left[0])
        self.problems = [*findings.problems, *source.problems]
        if not indices:
            cure = "Add images, or evaluate on what is trained on: --config.data.eval_split=train."
            message = f"of {len(source)} images none is left for {split}"
            findings.add(source.name, message, cure, "left out", "split", value=split)
        refuse_empty(source.name, split, len(source), len(indices), [*findings.problems, *source.problems])


def undivided(parts: Sequence[str]) -> str | None:
    """The one part of a data set that is to be divided into train and val; None where there is a split, of whatever kind: a
    `train` alone is all trained on."""
    if len(parts) != 1 or any(stands_for(split, parts) is not None for split in ("train", *EVALUATED)):
        return None
    return parts[0]


def open_divided(root: str, part: str, split: str, classes: tuple[str, ...] | None, open: Callable[..., Source]) -> Divided:
    """One side of a data set.

    Args:
        root: its folder.
        part: the name of the part that holds all.
        split: "train" or "val".
        classes: as of `open_source`. The division does not depend on them.
        open: (split, classes) -> the source of a part.
    """
    whole, findings = open(part, None), Findings()
    written = read_division(pathlib.Path(root).expanduser(), findings)
    refuse(whole.name, findings.problems)
    sides = written if written is not None else _sides_of(whole)
    source = whole if classes is None or classes == tuple(whole.classes) else open(part, classes)
    return Divided(source, split, sides, FILE if written is not None else "")


def _sides_of(source: Source) -> dict[str, str]:
    stamps = tuple(os.stat(record.path).st_mtime_ns for record in source.records)
    key = (source.name, source.ids, stamps)
    if key not in _last:
        sides = dict(zip(PARTS, divide(source), strict=True))
        _last.clear()
        _last[key] = {source.ids[index]: part for part, indices in sides.items() for index in indices}
    return _last[key]
