"""The annotations of COCO's layout: each is checked, and those that can be used become objects.

What is told of one object is read one by one, and compared with its image all at once: files with a million of them are
common. Where an object's own segmentation is missing while others have theirs, its box is taken for its mask.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnnvision.data.faults import Findings
from cnnvision.data.sources.coco.json_file import identity, numbers, numbers_in_text, other_form
from cnnvision.data.sources.coco.segmentations import Segmentations, parts_of
from cnnvision.types import Objects

LEFT_OUT = -1
"""Index of an image that is listed, but not used."""

_MOST_AREA = 1e10
"""Where COCO's largest range of areas ends."""
_FAR = 2
"""How far a polygon may reach, in multiples of the image's longer side."""


@dataclasses.dataclass(slots=True)
class Row:
    """One annotation.

    Attributes:
        record: its name in messages.
        image: index of its image.
        label: class.
        box: x y width height, as it stands.
        crowd: iscrowd.
        area: square pixels, None where the file does not tell.
        parts: of the segmentation, float64 each.
        runs: whether its parts are run lengths.
        dropped: whether there was one that could not be used.
    """

    record: str
    image: int
    label: int
    box: tuple[float, ...]
    crowd: bool
    area: float | None
    parts: list[np.ndarray]
    runs: bool
    dropped: bool = False


@dataclasses.dataclass(frozen=True)
class Annotated:
    """The objects of all images.

    Attributes:
        objects: of each image, without masks.
        starts: of each image, where in `segmentations` its objects begin.
        segmentations: of all objects; None where no object has one.
    """

    objects: list[Objects]
    starts: np.ndarray
    segmentations: Segmentations | None


def read_annotations(
    entries: Sequence[Any],
    positions: Mapping[int | str, int],
    sizes: Sequence[tuple[int, int]],
    labels: Mapping[int, int | None],
    file: str,
    findings: Findings,
) -> Annotated:
    """Reads the annotations of one file.

    Args:
        entries: the list in the JSON, with packed segmentations.
        positions: id of each listed image -> index into `sizes`, or LEFT_OUT.
        sizes: (height, width) of each used image.
        labels: id of each category -> class, None where training does not have it.
        file: its name, for messages.
        findings: gets what is wrong.
    """
    unique = _without_copies(entries, file, findings)
    read = (_row(record, entry, positions, sizes, labels, file, findings) for record, entry in unique)
    rows = [row for row in read if row is not None]
    rows, corners = _with_boxes(rows, sizes, file, findings)
    _check_polygons(rows, sizes, file, findings)
    order = sorted(range(len(rows)), key=lambda position: rows[position].image)
    rows, corners = [rows[position] for position in order], corners[order]
    known = any(row.parts for row in rows)
    without = [row.record for row in rows if known and not row.parts and not row.dropped]
    if without:
        message = f"the annotation has no segmentation, and its box is taken for its mask: the first of {len(without)}"
        findings.add(file, message, "Write one for each.", "repaired", without[0], "segmentation")
    box_areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    segmentations = Segmentations.pack([(row.parts, row.runs) for row in rows]) if known else None

    def area_of(position: int) -> float:
        row = rows[position]
        if row.area is not None:
            return row.area
        mask = segmentations.mask(position, sizes[row.image]) if row.parts else None
        return box_areas[position] if mask is None or not mask.any() else np.count_nonzero(mask)

    areas = [area_of(position) for position in range(len(rows))]
    columns = (
        corners,
        np.array([row.label for row in rows], np.int32),
        np.array([row.crowd for row in rows], bool),
        np.array(areas, np.float32),
    )
    starts = np.searchsorted([row.image for row in rows], np.arange(len(sizes) + 1))
    objects = [Objects(*(column[start:end] for column in columns)) for start, end in itertools.pairwise(starts)]
    return Annotated(objects, starts, segmentations)


def _without_copies(entries: Sequence[Any], file: str, findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name in messages, annotation) of those that are JSON objects, each once."""
    seen: dict[int | str, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        key = identity(entry.get("id")) if isinstance(entry, dict) else None
        record = f"annotations[{position}]" if key is None else f"annotation {key}"
        if not isinstance(entry, dict):
            cure = "Write an object with image_id, category_id and bbox."
            findings.add(file, "the annotation is no object", cure, "object left out", record, value=entry)
            continue
        first = entry if key is None else seen.setdefault(key, entry)
        if first is not entry:
            same = all(first.get(field) == entry.get(field) for field in ("image_id", "category_id", "bbox"))
            message = "the annotation repeats another one, and is used once" if same else "the id belongs to another already"
            cure = "Delete one of them." if same else "Give each an id of its own."
            findings.add(file, message, cure, "repaired" if same else "kept", record, "id", key)
            if same:
                continue
        yield record, entry


def _row(
    record: str,
    entry: dict[str, Any],
    positions: Mapping[int | str, int],
    sizes: Sequence[tuple[int, int]],
    labels: Mapping[int, int | None],
    file: str,
    findings: Findings,
) -> Row | None:
    """One annotation of an image that is used; None where a field is not of the right form."""

    def add(message: str, cure: str, field: str, effect: str = "object left out", value: object = None) -> None:
        findings.add(file, message, cure, effect, record, field, entry.get(field, "") if value is None else value)

    image = _look_up(positions, identity(entry.get("image_id")))
    if image is None:
        return add("there is no image with this id", "Correct it, or add the image to the list.", "image_id")
    category = identity(entry.get("category_id"))
    category = category if category in labels else other_form(category)
    if category not in labels:
        known = ", ".join(map(str, sorted(labels)[:40])) + (" …" if len(labels) > 40 else "")
        return add("there is no category with this id", f"Known: {known}.", "category_id")
    if image == LEFT_OUT or labels[category] is None:
        return None
    box = numbers(entry.get("bbox"))
    if box is None and (box := numbers_in_text(entry.get("bbox"))) is not None:
        add("the box has numbers written as text, which were taken for them", "Write numbers.", "bbox", "repaired")
    if box is None or len(box) != 4:
        return add("the box is no list of four numbers", "Write [x, y, width, height], in pixels.", "bbox")
    crowd = entry.get("iscrowd", 0)
    crowd = int(crowd) if crowd in ("0", "1") else crowd
    if crowd not in (0, 1):
        add("is neither 0 nor 1, and was taken for 0", "Write 1 for a group of objects, else 0.", "iscrowd", "repaired")
    area = entry.get("area")
    if area is not None and not (numbers([area]) and 0 <= area < _MOST_AREA):
        add("is no area, and that of the box was taken", "Write a number of square pixels.", "area", "repaired")
        area = None
    row = Row(record, image, labels[category], box, crowd == 1, area, [], False)
    try:
        row.parts, row.runs, repair = parts_of(entry.get("segmentation"), sizes[image])
    except ValueError as error:
        drop(row, f"cannot be used: {error}", file, findings)
    else:
        if repair:
            add(f"{repair}, and was read as one", "Write a list of polygons.", "segmentation", "repaired", "")
    return row


def drop(row: Row, message: str, file: str, findings: Findings) -> None:
    """Takes the segmentation from an object, which stays: what does not need masks can use it."""
    row.parts, row.runs, row.dropped = [], False, True
    message += "; the object stays without it, and its box is taken for its mask"
    findings.add(file, message, "Correct the segmentation, or delete it.", "repaired", row.record, "segmentation")


def _look_up(positions: Mapping[int | str, int], key: int | str | None) -> int | None:
    """Where an id is among others; 7 and "7" are one id where the others do not have both."""
    return positions.get(key, positions.get(other_form(key)))


def _with_boxes(
    rows: list[Row], sizes: Sequence[tuple[int, int]], file: str, findings: Findings
) -> tuple[list[Row], np.ndarray]:
    """The rows whose boxes can be used, and these: float32 [n, 4], x1 y1 x2 y2."""
    boxes = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        stored = corners.astype(np.float32)
    images = np.array([sizes[row.image] for row in rows], np.float32).reshape(-1, 2)
    sound = (stored[:, :2] >= 0).all(axis=1) & (stored[:, 2:] <= images[:, ::-1]).all(axis=1)
    sound &= (stored[:, :2] < stored[:, 2:]).all(axis=1)
    for position in np.flatnonzero(~sound).tolist():
        row = rows[position]
        box = findings.box(corners[position].tolist(), sizes[row.image], file, row.record, row.box)
        if box:
            sound[position], stored[position] = True, box
    return [row for row, is_sound in zip(rows, sound, strict=True) if is_sound], stored[sound]


def _check_polygons(rows: list[Row], sizes: Sequence[tuple[int, int]], file: str, findings: Findings) -> None:
    """Drops the segmentations whose polygons cannot be used, and polygons of too few corners where there are others."""
    numbered = [(position, part) for position, row in enumerate(rows) if not row.runs for part in row.parts if len(part)]
    if numbered:
        lengths = np.array([len(part) for _, part in numbered])
        coordinates = np.concatenate([part for _, part in numbered])
        positions = np.array([position for position, _ in numbered])
        reach = np.maximum.reduceat(np.abs(coordinates), np.cumsum(lengths) - lengths)  # NaN where there is one
        far = ~(reach <= _FAR * np.array([max(sizes[row.image]) for row in rows])[positions])
        for wrong, message in (
            (far, "a polygon has a coordinate far outside the image, or one that is not finite"),
            (lengths % 2 != 0, "a polygon has an odd number of coordinates"),
        ):
            for position in dict.fromkeys(positions[wrong].tolist()):
                if not rows[position].dropped:
                    drop(rows[position], message, file, findings)
    for row in rows:
        enough = row.parts if row.runs else [part for part in row.parts if len(part) >= 6]
        if len(enough) < len(row.parts):
            message = "a polygon has fewer than six numbers (three corners)"
            if enough:
                message += ", and is not used"
                findings.add(file, message, "Draw it again, or delete it.", "repaired", row.record, "segmentation")
                row.parts = enough
            else:
                drop(row, message, file, findings)
