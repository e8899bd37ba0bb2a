"""The JSON of COCO's layout: what is of the right form in it becomes images and categories, the rest becomes problems.

    {"images":      [{"id": 9, "file_name": "9.jpg", "height": 480, "width": 640}, ...],
     "annotations": [{"id": 1, "image_id": 9, "category_id": 51, "bbox": [x, y, width, height], ...}, ...],
     "categories":  [{"id": 51, "name": "bowl"}, ...]}

Segmentations are packed into arrays while the file is parsed: as Python numbers they would take several times its size.
"""

import contextlib
import dataclasses
import gc
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from cnnvision.data.faults import Findings, clean_name, similar_names
from cnnvision.data.files import decode_text

LISTS = ("images", "annotations", "categories")
_FORM = f"It should be an object with the lists {', '.join(LISTS)}."


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """One image. Attributes: id; file_name: as it stands; size: the declared (height, width), None where it is not known."""

    id: int | str
    file_name: str
    size: tuple[float, float] | None

    @property
    def record(self) -> str:
        """Its name in messages."""
        return f"image {self.id}"


@dataclasses.dataclass(frozen=True)
class Categories:
    """The classes of one file.

    Attributes:
        names: in the order of their ids.
        ids: the id of each; the least one where several have one name.
        numbers: id -> index into `names`.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    numbers: dict[int, int]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """While millions of small objects are made, none of which is garbage, their collector would look at all of them again
    and again: a third of the time that a large file takes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_json(path: pathlib.Path, file: str, findings: Findings) -> dict[str, list[Any]]:
    """The lists of one file, empty ones where `findings` then refuses it. Args: file: its name, for messages."""

    def refuse(message: str, cure: str, field: str = "", value: str = "") -> dict[str, list[Any]]:
        findings.add(file, message, cure, "refused", field=field, value=value)
        return {name: [] for name in LISTS}

    encoding = Findings()
    try:
        content = json.loads(_text(path.read_bytes(), file, encoding), object_hook=_pack)
    except RecursionError:
        return refuse("is nested too deeply", _FORM)
    except ValueError as error:
        return refuse(f"is no JSON: {str(error)[:120]}", "Write it again, or copy it again: it may have broken off.")
    findings.problems += encoding.problems
    if not isinstance(content, dict):
        return refuse("is no data set in COCO's form", _FORM, value=type(content).__name__)
    for name in LISTS:
        if not isinstance(content.get(name), list):
            there = ", ".join(map(str, content))[:100]
            refuse("there is no such list" if name not in content else "is no list", _FORM, name, there)
    return {name: content[name] if isinstance(content.get(name), list) else [] for name in LISTS}


def identity(value: Any) -> int | str | None:
    """An id as it can be compared: a whole number or text; None for anything else."""
    if type(value) in (int, str):  # not bool, which is an int
        return value
    return int(value) if type(value) is float and value.is_integer() else None


def other_form(key: int | str | None) -> int | str | None:
    """The same id as the other type: "7" for 7, and 7 for "7"; None for what has no such form."""
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and str(int(key[:18])) == key else None
    return None if key is None else str(key)


def numbers(values: Any) -> tuple[float, ...] | None:
    """The numbers of a list; None where it is no list, or holds anything else."""
    if not isinstance(values, list) or not {int, float}.issuperset(map(type, values)):
        return None
    try:
        return tuple(map(float, values))
    except OverflowError:  # a whole number of 310 digits
        return None


def numbers_in_text(values: Any) -> tuple[float, ...] | None:
    """As `numbers`, where some of the list's values are text that spells a number."""
    if not isinstance(values, list) or not all(type(value) in (int, float, str) for value in values):
        return None
    try:
        return tuple(map(float, values))
    except (OverflowError, ValueError):
        return None


def read_categories(entries: list[Any], file: str, findings: Findings) -> Categories:
    """The classes; what cannot be used of them refuses the file."""
    names: dict[int, str] = {}
    for position, entry in enumerate(entries):

        def refuse(message: str, field: str, value: Any, position: int = position) -> None:
            cure = "Give each category an id, a whole number, and a name of its own."
            findings.add(file, message, cure, "refused", f"categories[{position}]", field, value)

        if not isinstance(entry, dict):
            refuse("the category is no object", "", entry)
            continue
        key, name = identity(entry.get("id")), entry.get("name")
        key = other_form(key) if isinstance(key, str) else key
        if not isinstance(key, int):
            refuse("the category's id is no whole number", "id", entry.get("id", ""))
        elif not isinstance(name, str) or not clean_name(name):
            refuse("the category has no name", "name", entry.get("name", ""))
        elif clean_name(name) != name:
            message = "the name has space around it or a line break in it, and is read without"
            findings.add(file, message, "Strip names.", "repaired", f"category {key}", "name", repr(name))
        if not isinstance(key, int) or not isinstance(name, str) or not (name := clean_name(name)):
            continue
        if names.get(key, name) != name:
            refuse(f"the id belongs to {names[key]!r} already", "id", key)
        elif key in names:
            message, cure = "the category repeats another one, and is used once", "Delete one of them."
            findings.add(file, message, cure, "repaired", f"category {key}", "id", key)
        else:
            names[key] = name
    first: dict[str, int] = {}
    for key in sorted(names):
        if first.setdefault(names[key], key) != key:
            message = f"the category has the name of category {first[names[key]]}; they are read as one class"
            findings.add(file, message, "Merge them, or rename one.", "repaired", f"category {key}", "name", names[key])
    if not names and entries == []:
        findings.add(file, "there are no categories", "List the classes.", "refused", field="categories")
    similar_names(tuple(first), file, findings)
    positions = {name: position for position, name in enumerate(first)}
    return Categories(tuple(first), tuple(first.values()), {key: positions[name] for key, name in names.items()})


def read_images(entries: list[Any], file: str, findings: Findings) -> tuple[list[ImageEntry], set[int | str]]:
    """The images of the right form, each once; and the ids of all of them, also of those that are left out."""
    read = [_image(entry, position, file, findings) for position, entry in enumerate(entries)]
    of_id: dict[int | str, list[ImageEntry]] = {}
    for image in read:
        if image:
            of_id.setdefault(image.id, []).append(image)
    listed = {key for entry in entries if (key := _id_of(entry)) is not None}
    return list(_unambiguous(of_id, file, findings)), listed


def _unambiguous(of_id: dict[int | str, list[ImageEntry]], file: str, findings: Findings) -> Iterator[ImageEntry]:
    for images in of_id.values():
        names = dict.fromkeys(image.file_name for image in images)
        record, value = images[0].record, ", ".join(names)
        if len(names) > 1:
            message = f"{len(images)} images have this id, so that their annotations cannot be told apart"
            findings.add(file, message, "Give each an id of its own.", "left out", record, "id", value)
            continue
        if len(images) > 1:
            message = f"the image is listed {len(images)} times, and used once"
            findings.add(file, message, "Delete the copies.", "repaired", record, "id", value)
        yield images[0]


def _id_of(entry: Any) -> int | str | None:
    return identity(entry.get("id")) if isinstance(entry, dict) else None


def _image(entry: Any, position: int, file: str, findings: Findings) -> ImageEntry | None:
    def add(message: str, cure: str, field: str, value: Any) -> None:
        findings.add(file, message, cure, "left out", record, field, value)

    key = _id_of(entry)
    record = f"images[{position}]" if key is None else f"image {key}"
    if not isinstance(entry, dict):
        return add("the image is no object", "Write an id, a file_name, a height and a width.", "", entry)
    if key is None:
        return add("the image's id is no whole number or text", "Give it one.", "id", entry.get("id", ""))
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        return add("the image names no file", "Fill it in.", "file_name", entry.get("file_name", ""))
    size = _size([entry.get("height"), entry.get("width")], record, file, findings)
    return ImageEntry(key, name, size)


def _size(sides: list[Any], record: str, file: str, findings: Findings) -> tuple[float, float] | None:
    """The declared (height, width); None where none is told, or none that can be compared with the image."""
    for field, side in zip(("height", "width"), sides, strict=True):
        if side is not None and numbers_in_text([side]) is None:
            message, cure = "is not a number, and was not compared with the image", "Write the image's own, or leave it out."
            findings.add(file, message, cure, "kept", record, field, side)
            return None
        if isinstance(side, str):
            cure = "Write it without quotation marks."
            findings.add(file, "the number is written as text, and was taken for it", cure, "repaired", record, field, side)
    if sides == [None, None]:
        return None
    known = [0.0 if side is None else float(side) for side in sides]
    if not all(0 < side < math.inf for side in known):
        message, cure = "the declared size is none, and was not compared with the image", "Write the image's own size."
        findings.add(file, message, cure, "kept", record, "height, width", f"{sides[0]}, {sides[1]}")
        return None
    return known[0], known[1]


def _text(data: bytes, file: str, findings: Findings) -> str | bytes:
    """The file for `json.loads`, which knows the encodings of Unicode; another is read as Latin-1, which is reported."""
    try:
        return data.decode(json.detect_encoding(data), "surrogatepass")
    except UnicodeDecodeError:
        return decode_text(data, file, findings)


def _pack(entry: dict[str, Any]) -> dict[str, Any]:
    """Makes arrays of the numbers of a segmentation, where they are numbers; called for each object of the JSON."""
    if "segmentation" in entry and isinstance(entry["segmentation"], list):
        entry["segmentation"] = [_array(part) for part in entry["segmentation"]]
    elif "counts" in entry:
        entry["counts"] = _array(entry["counts"])
    return entry


def _array(numbers: Any) -> Any:
    if not isinstance(numbers, list):
        return numbers
    try:
        array = np.array(numbers)
    except ValueError:  # lists within it
        return numbers
    return array.astype(np.float64) if array.ndim == 1 and (array.dtype.kind in "if" or not len(array)) else numbers
