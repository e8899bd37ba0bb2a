"""How faults of data sets are collected and reported, and the checks of boxes that all sources share."""

import collections
import math
import re
from collections.abc import Sequence

import numpy as np

from cnnvision.errors import DataError
from cnnvision.types import Problem

EFFECTS = ("refused", "left out", "object left out", "repaired", "kept")
"""What a problem may lead to, the gravest first."""

SHOWN = 5
"""How many problems an error message lists before it counts the rest."""


class RecordError(DataError):
    """One record that cannot be used. Attributes: problem: the `Problem`, which is also the message."""

    def __init__(self, problem: Problem):
        super().__init__(problem)

    @property
    def problem(self) -> Problem:
        return self.args[0]


def unusable(file: str, message: str, cure: str) -> RecordError:
    """The error for a file that is of no use as a whole, so that its example is left out."""
    return RecordError(Problem(file, "", "", "", message, cure, "left out"))


class DataSetError(DataError):
    """A whole data set that cannot be used. Attributes: problems: everything that was found, not only what is printed."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()):
        super().__init__(message, tuple(problems))

    def __str__(self) -> str:
        return self.args[0]

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.args[1]


class EmptyDataError(DataSetError):
    """A data set of which nothing is left."""


class Findings:
    """Collects the problems of one data set while it is read.

    What the data set's files say is cut to a length that can be printed, and its control characters are replaced.

    Attributes:
        problems: in the order in which they were found.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._overshoots: list[str] = []

    def add(
        self, file: str, message: str, cure: str, effect: str, record: str = "", field: str = "", value: object = ""
    ) -> None:
        """Appends a `Problem`; the arguments are its fields."""
        record = "".join(c if c.isprintable() else "?" for c in record[:200])
        self.problems.append(Problem(file, record, field, str(value)[:200], message, cure, effect))

    def box(
        self,
        corners: Sequence[float],
        size: tuple[int, int],
        file: str,
        record: str,
        written: Sequence[float] | None = None,
    ) -> tuple[float, float, float, float] | None:
        """Checks one box, and says what was wrong with it.

        Args:
            corners: x1 y1 x2 y2, continuous pixels of the image.
            size: (height, width) of the image.
            file: the file that holds the annotation.
            record: where in it.
            written: the corners as they stand in the file, where these differ from `corners`.

        Returns:
            The box with its corners in order and within the image, or None where no area is left of it. A box that
            reaches at most one pixel beyond the image is rounding, clipped and counted in one problem (`finish`).
        """
        value = " ".join(f"{c:g}" for c in (written or corners))

        def add(message: str, cure: str, effect: str) -> None:
            self.add(file, message, cure, effect, record, "box", value)

        with np.errstate(over="ignore"):  # as they will be stored: sides of less than its rounding are none
            corners = np.asarray(corners, np.float32).tolist()
        if not all(map(math.isfinite, corners)):
            return add("the box has a coordinate that is not a finite number", "Correct it.", "object left out")
        x1, y1, x2, y2 = corners
        if x1 == x2 or y1 == y2:
            return add("the box is empty: two of its corners agree", "Draw it again, or delete it.", "object left out")
        if x1 > x2 or y1 > y2:
            add(
                "the box's corners are in the wrong order, and were exchanged", "Write xmin < xmax, ymin < ymax.", "repaired"
            )
            x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        height, width = size
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            return add(
                f"the box lies outside the image of {width} x {height} pixels",
                "Coordinates are pixels (not fractions) of the image as it is seen upright.",
                "object left out",
            )
        overshoot = max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True))
        if overshoot > 1:
            add(f"the box reaches beyond the image of {width} x {height} pixels, and was clipped", "Correct it.", "repaired")
        elif overshoot > 0:
            self._overshoots.append(file)
        return inside

    def finish(self, file: str) -> None:
        """Adds the one line about boxes that rounding put beyond their image. `file`: the folder that it is said of."""
        if self._overshoots:
            self.add(
                file,
                f"{len(self._overshoots)} boxes reach up to one pixel beyond their image, and were clipped "
                f"(the first in {self._overshoots[0]})",
                "Rounding does this; there is nothing to mend.",
                "repaired",
                field="box",
            )
            self._overshoots = []


def other_size(width: float, height: float, size: tuple[int, int]) -> tuple[str, str]:
    """(message, cure) where another size is declared than the image has. Args: size: (height, width) of the image."""
    message = f"the image has {size[1]} x {size[0]} pixels; its boxes were drawn on another picture"
    if (width, height) == size:
        return f"{message}{UNTURNED}", UNTURNED_CURE.format("boxes")
    return message, "Correct the size (or delete it, where the boxes are right)."


UNTURNED = " or before its EXIF orientation was applied"
UNTURNED_CURE = "Turn the {} as the picture is turned, or save the picture upright, without its orientation tag."


def clean_name(name: str) -> str:
    """A class name without space around it, line breaks and control characters, which no table and no font can show."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def similar_names(classes: Sequence[str], file: str, findings: Findings) -> None:
    """Reports class names that differ only in case or in surrounding space. `file`: where the names come from."""
    groups = collections.defaultdict(list)
    for name in classes:
        groups["".join(name.casefold().split())].append(name)
    for names in groups.values():
        for other in names[1:]:
            findings.add(
                file,
                f"the class name differs from {names[0]!r} only in upper and lower case or in spaces",
                "Merge the two, unless they really are two classes.",
                "kept",
                field="class",
                value=other,
            )


def tally(problems: Sequence[Problem]) -> str:
    """Counts problems by their message, most frequent first: one line a kind, with one example of each."""
    kinds: dict[tuple[str, str], list[Problem]] = collections.defaultdict(list)
    for problem in problems:
        kinds[problem.effect, problem.field].append(problem)
    lines = []
    for (effect, _), found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        lines.append(f"  {len(found)} x {effect}, for example {found[0]}")
    return "\n".join(lines)


def kinds(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Problems of one kind together, in the order of the first of each: same effect, field and words, but for names and
    numbers in them.
    """
    found: dict[tuple[str, str, str], list[Problem]] = collections.defaultdict(list)
    for problem in problems:
        words = re.sub(r"'[^']*'|-?\d[\d.]*", "#", problem.message)
        found[problem.effect, problem.field, words].append(problem)
    return list(found.values())


def by_effect(problems: Sequence[Problem]) -> str:
    """How many problems have which effect, the gravest first: "2 left out, 6 object left out"."""
    counts = collections.Counter(problem.effect for problem in problems)
    return ", ".join(f"{counts[effect]} {effect}" for effect in EFFECTS if effect in counts)


def refuse(name: str, problems: Sequence[Problem]) -> None:
    """Raises DataSetError where one of the problems makes the whole data set unusable."""
    refused = [p for p in problems if p.effect == "refused"]
    if refused:
        shown = "\n".join(f"  {p}" for p in refused[:SHOWN])
        more = f"\n  and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise DataSetError(f"{name} cannot be used until this is mended:\n{shown}{more}", problems)


def refuse_empty(name: str, split: str, found: int, usable: int, problems: Sequence[Problem]) -> None:
    """Raises EmptyDataError where nothing usable is left. Args: found: records before the checks; usable: after them."""
    if usable:
        return
    harmful = [p for p in problems if p.effect in ("left out", "object left out")]
    reasons = f":\n{tally(harmful)}" if harmful else "."
    raise EmptyDataError(f"{name}, split {split}: no usable example among {found} found{reasons}", problems)
