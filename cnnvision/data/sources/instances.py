"""`instances:DIR`: images with maps of instance ids, in two folders side by side (pairs.py says which).

    DIR/classes.txt    one line: the name of the one class; without it the class is called ``object``

In a map 0 is background, and all pixels of another value are one object, wherever they lie; values may be left out. Boxes
are those of the visible pixels, and so all maps of a split are decoded when it is opened. The semantic map has two classes,
``background`` and that of the objects.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from cnnvision.data.decode import decode_map
from cnnvision.data.faults import Findings, RecordError, refuse
from cnnvision.data.files import decode_text, read_bytes
from cnnvision.data.maps.class_ids import check_map_size, instance_table, masks_of
from cnnvision.data.sources import pairs
from cnnvision.data.sources.pairs import Pair, PairFolder, measured, open_pairs
from cnnvision.data.sources.pairs_layout import find_layout, first_has_16_bits
from cnnvision.data.sources.records import Planes, Record, RecordSource, class_cure
from cnnvision.types import Masks, Objects, Problem

FILE = "classes.txt"
CLASS = "object"
BACKGROUND = "background"
_CHUNK = 1024
"""Maps that the threads work on at a time."""


class InstanceSource(RecordSource):
    """A `RecordSource` whose records have maps of instance ids.

    Args:
        folder: the opened folder.
        split: as asked for.
        classes: of the objects.
        name: of the class that the maps have; where `classes` lacks it there are no objects.
        records, findings, found: as of `RecordSource`.
    """

    def __init__(
        self,
        folder: PairFolder,
        split: str,
        classes: tuple[str, ...],
        name: str,
        records: Sequence[Record],
        findings: Findings,
        found: int,
    ):
        names = (BACKGROUND, name)
        super().__init__(folder.name, split, classes, records, findings, found, semantic_classes=names)
        self._root = str(folder.root)

    def planes(self, index: int, masks: Masks) -> Planes:
        """The objects, the map of objects and background, and the map as it is in the file.

        Raises:
            RecordError: the map cannot be decoded, or is not what it was when the data set was opened.
        """
        record = self.records[index]
        file = os.path.relpath(record.map, self._root).replace(os.sep, "/")
        raw = decode_map(read_bytes(record.map, file), file)
        check_map_size(raw.shape, record.size, file, "instances")
        ids = np.unique(raw[raw > 0]) if len(record.objects.boxes) else np.zeros(0, np.int64)
        if len(ids) != len(record.objects.boxes):
            message = f"the map changed: it had {len(record.objects.boxes)} objects when the data set was opened"
            raise RecordError(Problem(file, "", "instances", str(len(ids)), message, "Start again.", "left out"))
        objects = (
            dataclasses.replace(record.objects, masks=masks_of(raw, ids)) if masks in (True, "objects") else record.objects
        )
        return objects, (raw > 0).astype(np.uint8), raw.astype(np.int32) if masks == "cells" else None


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``instances:DIR``: of its split folders, or train and val where it has none."""
    return pairs.split_names("instances", folder)


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds folders of images and of masks, side by side, whose first mask has 16 bits."""
    part = next(iter(find_layout(root, "instances").values()), None)
    return part is not None and first_has_16_bits(part) is True


def open_instances(folder: str, split: str, classes: tuple[str, ...] | None) -> InstanceSource:
    """Opens ``instances:DIR``; see `cnnvision.data.sources.open_source`."""
    findings = Findings()
    opened = open_pairs("instances", folder, split, findings)
    name = _class_name(opened.root / FILE, findings)
    refuse(opened.name, findings.problems)
    if classes is None:
        classes = (name,)
    elif name not in classes:
        message = "the class is not among those of training"
        findings.add(FILE, message, class_cure(name, classes), "object left out", "", "class", name)
    found = opened.pairs(opened.part, findings)
    records, fullest = [], 0
    usable = measured(found, findings)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(usable), _CHUNK):
            chunk = usable[start : start + _CHUNK]
            for (pair, size), table in zip(chunk, pool.map(_table, chunk), strict=True):
                if isinstance(table, Problem):
                    findings.problems.append(table)
                    continue
                objects = _objects(*table, name, classes)
                fullest = max(fullest, len(table[0]))
                if not len(table[0]):
                    message = "the map has no object: all of it is 0, background"
                    findings.add(pair.mask_file, message, "There is nothing to mend if the image has none.", "kept")
                records.append(Record(pair.id, pair.image, size, objects=objects, map=pair.mask))
    if fullest == 1:
        message = "no map has more than one object; all pixels of one value, but 0, are taken for one"
        cure = "If these are maps of classes, use masks:DIR; else give each object a value of its own."
        findings.add(opened.masks_of(opened.part), message, cure, "kept")
    return InstanceSource(opened, split, classes, name, records, findings, len(found))


def _class_name(path: pathlib.Path, findings: Findings) -> str:
    if not path.is_file():
        return CLASS
    names = decode_text(path.read_bytes(), FILE, findings).split("\n")
    names = [name.strip() for name in names if name.strip()]
    if len(names) != 1:
        message = f"should have one line, and has {len(names)}: maps of instance ids do not tell classes"
        findings.add(FILE, message, "Write the name of the one class.", "refused", value=", ".join(names))
        return CLASS
    return names[0]


def _table(usable: tuple[Pair, tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | Problem:
    """ids, boxes and areas of a map, or why it is of no use."""
    pair, _ = usable
    try:
        return instance_table(decode_map(read_bytes(pair.mask, pair.mask_file), pair.mask_file))
    except RecordError as error:
        return error.problem


def _objects(ids: np.ndarray, boxes: np.ndarray, areas: np.ndarray, name: str, classes: tuple[str, ...]) -> Objects:
    count = len(ids) if name in classes else 0
    label = classes.index(name) if count else 0
    labels = np.full(count, label, np.int32)
    return Objects(boxes[:count], labels, np.zeros(count, bool), areas[:count])
