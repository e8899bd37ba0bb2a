"""What the values or colours of semantic maps mean: a table that a file declares, or that is inferred from the maps.

    classes.csv    value,name    or    red,green,blue,name

Several values may share one name, which then is one class; ``ignore`` stands for no class. Classes are numbered in the order
of their first appearance.
"""

import concurrent.futures
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from cnnvision.data.decode import ColourCodedError, decode_colours, decode_map
from cnnvision.data.faults import Findings, RecordError, similar_names
from cnnvision.data.files import read_bytes, read_csv
from cnnvision.data.maps.class_ids import class_map, colour_codes, colour_text
from cnnvision.types import IGNORE, Problem

FILE = "classes.csv"
IGNORED_NAME = "ignore"
MOST_CLASSES = 255
"""Ids 0 ... 254; 255 is IGNORE."""
MOST_INFERRED = 100
"""Most values that are taken for classes; more are instance ids, a picture, or edges that were smoothed."""

_VALUE, _COLOUR = ("value",), ("red", "green", "blue")
_FORMS = "value,name or red,green,blue,name"
_CHUNK = 256
"""Maps that the threads work on at a time."""


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """A table of classes.

    Attributes:
        names: of the classes, in the order of their ids.
        ids: value in the file, or colour as 0xRRGGBB -> class id, or IGNORE.
        coloured: whether `ids` has colours.
        ignoring: how the value 255 is declared as one that does not count; for messages.
    """

    names: tuple[str, ...]
    ids: dict[int, int]
    coloured: bool = False
    ignoring: str = f"give it the name {IGNORED_NAME} in {FILE}"

    @property
    def meaning(self) -> str:
        """The table as text: two tables of the same `names` that read maps the same way have the same text."""
        return f"{'colours' if self.coloured else 'values'} {sorted(self.ids.items())}"

    def read(self, data: bytes, size: tuple[int, int], file: str) -> np.ndarray:
        """Decodes a map into class ids.

        Args:
            data: the whole encoded file.
            size: (height, width) of its image.
            file: its name, for errors.

        Returns:
            uint8 [H, W].

        Raises:
            RecordError: the file cannot be decoded, is not as large as its image, or holds what is not in the table.
        """
        raw = decode_colours(data, file) if self.coloured else decode_map(data, file)
        return class_map(raw, self.ids, size, file, self.ignoring)


def read_table(path: pathlib.Path, findings: Findings) -> ClassTable | None:
    """Reads classes.csv; None where there is a fault for which `findings` then refuses the data set."""

    def refuse(message: str, cure: str, record: str = "", field: str = "", value: str = "") -> None:
        findings.add(FILE, message, cure, "refused", record, field, value)

    table = read_csv(path, _FORMS, findings)
    if not table:
        return None
    header, delimiter = table.columns, table.delimiter
    keys = next((form for form in (_VALUE, _COLOUR) if set(form) | {"name"} <= set(header)), None)
    if keys is None or len(set(header)) < len(header):
        message = "the columns are not those of a table of classes"
        return refuse(message, f"Its header should be {_FORMS}.", "header", "", delimiter.join(header))
    first: dict[int, tuple[str, int]] = {}
    for line, cells in table.rows:
        row = dict(zip(header, cells, strict=False))
        code = _code(keys, row)
        if code is None:
            least = "0 ... 65535" if keys == _VALUE else "0 ... 255"
            value = delimiter.join(row.get(key, "") for key in keys)
            refuse("is not a whole number in range", f"Write {least}.", f"row {line}", " ".join(keys), value)
        elif len(cells) != len(header) or not row["name"]:
            cure = 'Fill in the name, and put one with a delimiter in it into "quotes".'
            refuse(f"the row has no name, or not {len(header)} cells", cure, f"row {line}", "name", delimiter.join(cells))
        elif first.setdefault(code, (row["name"], line))[0] != row["name"]:
            message = f"row {first[code][1]} gives another name to the same {'value' if keys == _VALUE else 'colour'}"
            refuse(message, "Delete one of them.", f"row {line}", "name", row["name"])
    return _table([(code, name) for code, (name, _) in first.items()], keys == _COLOUR, findings)


def _code(keys: tuple[str, ...], row: dict[str, str]) -> int | None:
    most = 65535 if keys == _VALUE else 255
    code = 0
    for key in keys:
        text = row.get(key, "")
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= most):
            return None
        code = code << 8 | int(text)
    return code


def _table(entries: Sequence[tuple[int, str]], coloured: bool, findings: Findings) -> ClassTable | None:
    names = tuple(dict.fromkeys(name for _, name in entries if name.casefold() != IGNORED_NAME))
    similar_names(names, FILE, findings)
    if not 0 < len(names) <= MOST_CLASSES:
        message = f"names {len(names)} classes, which is {'too many' if names else 'none'}"
        return findings.add(FILE, message, f"Name 1 ... {MOST_CLASSES}.", "refused")
    numbers = {name: number for number, name in enumerate(names)}
    return ClassTable(names, {code: numbers.get(name, IGNORE) for code, name in entries}, coloured)


def infer_table(
    maps: Sequence[tuple[str, str]], folder: str, findings: Findings
) -> tuple[ClassTable | None, dict[str, Problem]]:
    """The table of maps that come without one: each value that occurs in them is a class.

    Where there are other values than 0 and 255, 255 is taken for ignore; but next to values above 127 nobody can tell, for
    those may be the edges of a class 255 that were smoothed, and the data set is refused.

    Args:
        maps: (path, name in messages) of each map of the train split.
        folder: where they lie, for messages.
        findings: is told what the table is, or why there is none.

    Returns:
        The table, or None where `findings` then refuses the data set; and path -> what is wrong, of the maps that cannot be
        decoded.
    """
    values, colours, broken = _values(maps)
    if colours:
        listed = ", ".join(colour_text(code) for code in colours)
        message = (
            f"the maps are colour-coded, and there is no {FILE} that says what the colours mean; the first are {listed}"
        )
        cure = f"Write {FILE} with the columns red,green,blue,name."
        return findings.add(folder, message, cure, "refused"), {}
    if len(values) > MOST_INFERRED:
        message = f"the maps have more than {MOST_INFERRED} values, which are taken for no list of classes"
        cure = (
            f"Write {FILE} (value,name) if they are classes. They may be instance ids (use instances:DIR), or a picture"
            " whose edges were smoothed or compressed."
        )
        return findings.add(folder, message, cure, "refused", "", "value", " ".join(map(str, sorted(values)[:20]))), {}
    if not values:
        message = "none of the masks can be decoded, so that they tell no classes"
        return findings.add(folder, message, f"Mend them, or write {FILE} (value,name).", "refused"), broken
    ignored = {IGNORE} & values if values - {0, IGNORE} else set()
    if ignored and (doubtful := sorted(value for value in values if IGNORE // 2 < value < IGNORE)):
        message = f"there are values near {IGNORE}, so it cannot be told whether {IGNORE} is a class or stands for ignore"
        cure = (
            f"Write {FILE} (value,name), with the name {IGNORED_NAME} for values that do not count. If few pixels have "
            "these values, the masks were resized or compressed: make them again."
        )
        return findings.add(folder, message, cure, "refused", "", "value", " ".join(map(str, doubtful))), broken
    ordered = sorted(values - ignored)
    meaning = [f"value {value} -> class '{value}'" for value in ordered] + [f"value {IGNORE} -> {IGNORED_NAME}"] * len(
        ignored
    )
    message = f"classes were inferred from the masks: {', '.join(meaning)}"
    findings.add(folder, message, f"Name them in {FILE} (value,name).", "kept")
    ids = {value: number for number, value in enumerate(ordered)}
    return ClassTable(tuple(map(str, ordered)), {**ids, **dict.fromkeys(ignored, IGNORE)}), broken


def _values(maps: Sequence[tuple[str, str]]) -> tuple[set[int], list[int], dict[str, Problem]]:
    """All values of some maps (not many more than are of use); or the first colours; and what cannot be decoded."""

    def look(path: str, file: str) -> tuple[list[int], list[int]] | Problem:
        try:
            data = read_bytes(path, file)
            try:
                raw = decode_map(data, file)
                return np.flatnonzero(np.bincount(raw.ravel())).tolist(), []
            except ColourCodedError:
                return [], list(itertools.islice(np.unique(colour_codes(decode_colours(data, file))).tolist(), 5))
        except RecordError as error:
            return error.problem

    values, broken = set(), {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(maps), _CHUNK):
            chunk = maps[start : start + _CHUNK]
            for (path, _), found in zip(chunk, pool.map(look, *zip(*chunk, strict=True)), strict=True):
                if isinstance(found, Problem):
                    broken[path] = found
                    continue
                if found[1]:
                    return set(), found[1], broken
                values.update(found[0])
            if len(values) > MOST_INFERRED:
                break
    return values, [], broken
