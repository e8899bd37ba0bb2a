"""`coco:DIR`: annotations in COCO's form.

    DIR/annotations/instances_SPLIT.json
    DIR/SPLIT/...    or    DIR/images/SPLIT/...    or    DIR/images/...    the files that it names

Files of other names and places, as tools write them, are found by what is in them (coco/layout.py). A split may be asked for
without the year in its name: train finds train2017. The class list is that of the opened file, in the order of the ids of
its categories, which may have gaps. Boxes x y width height become corners; `area` is the file's own, else that of the box.
The codings of segmentations are told in coco/segmentations.py, and semantic maps, where there are any, in coco/semantic.py;
an image without one is IGNORE in all of its pixels.

Where the declared size disagrees with the image, its boxes were drawn on another picture and the example is left out; where
none is declared, nothing is compared. An example whose annotations are all unusable stays, as an image without objects.
Images of the split's own folder that the file does not list are reported.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, other_size, refuse
from cnnvision.data.files import read_bytes
from cnnvision.data.maps.class_tables import ClassTable
from cnnvision.data.sources.coco.annotations import LEFT_OUT, Annotated, read_annotations
from cnnvision.data.sources.coco.json_file import (
    Categories,
    ImageEntry,
    read_categories,
    read_images,
    read_json,
    uncollected,
)
from cnnvision.data.sources.coco.layout import ANNOTATIONS, Part, find_parts, parts_of
from cnnvision.data.sources.coco.semantic import read_maps
from cnnvision.data.sources.named_files import NotFoundError, find
from cnnvision.data.sources.records import (
    Planes,
    Record,
    RecordSource,
    class_cure,
    data_folder,
    measure,
)
from cnnvision.data.sources.splits import resolve_split
from cnnvision.errors import listed
from cnnvision.ops.geometry import touched
from cnnvision.types import IGNORE, Masks


class CocoSource(RecordSource):
    """A `RecordSource` whose objects have masks where the annotations have segmentations.

    Args:
        name, split, classes, records, findings, found: as of `RecordSource`.
        root: the data set's folder.
        image_ids, category_ids: as the attributes.
        annotated: the annotations of the images of `records`, and of others.
        positions: of each record, its index in `annotated`.
        table: of the semantic maps, or None.

    Attributes:
        image_ids: of each of `ids`, the id of its image in the file.
        category_ids: of each class, its id in the file; None where only training has the class.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: tuple[str, ...],
        records: Sequence[Record],
        findings: Findings,
        found: int,
        root: pathlib.Path,
        image_ids: tuple[int | str, ...],
        category_ids: tuple[int | None, ...],
        annotated: Annotated,
        positions: Sequence[int],
        table: ClassTable | None,
    ):
        names = table.names if table else ()
        super().__init__(name, split, classes, records, findings, found, semantic_classes=names)
        self.image_ids, self.category_ids = image_ids, category_ids
        self._root, self._table = str(root), table
        self.meaning = table.meaning if table else ""
        self._segmentations = annotated.segmentations
        self._starts = annotated.starts[list(positions)]

    def planes(self, index: int, masks: Masks) -> Planes:
        """The objects, with masks where the annotations have any; the semantic map; where objects lie, of which the first
        one has the pixels that are several ones'. Raises RecordError.
        """
        objects, size = self.records[index].objects, self.records[index].size
        cells, positions = None, range(len(objects.boxes))
        if self._segmentations is not None and masks in (True, "objects"):
            planes = np.zeros((len(positions), *size), bool)
            for position in positions:
                self._draw(index, position, planes[position], True)
            objects = dataclasses.replace(objects, masks=planes)
        if self._segmentations is not None and masks == "cells":
            cells = np.zeros(size, np.int32)
            for position in reversed(positions):
                self._draw(index, position, cells, position + 1)
        return objects, None if masks == "objects" else self._semantic(self.records[index]), cells

    def map_digest(self, index: int) -> str:
        """Of the semantic map, and where there is one, of the objects' masks too: they tell where its cells touch."""
        digest = super().map_digest(index)
        if not digest or self._segmentations is None:
            return digest
        start = int(self._starts[index])
        parts = [self._segmentations.parts(start + position) for position in range(len(self.records[index].objects.boxes))]
        masks = repr([[part.tobytes() for part in of_object] for of_object in parts])
        return f"{digest} {hashlib.blake2b(masks.encode(), digest_size=16).hexdigest()}"

    def _draw(self, index: int, position: int, plane: np.ndarray, value: int) -> None:
        """Sets `plane` [H, W] to `value` where an object's mask is, or its box, where it has no mask."""
        record = self.records[index]
        mask = self._segmentations.mask(int(self._starts[index]) + position, record.size)
        if mask is None:
            left, top, right, bottom = touched(record.objects.boxes[position]).astype(int)
            plane[top:bottom, left:right] = value
        else:
            plane[mask] = value

    def _semantic(self, record: Record) -> np.ndarray | None:
        if self._table is None:
            return None
        if not record.map:
            return np.full(record.size, IGNORE, np.uint8)
        file = os.path.relpath(record.map, self._root).replace(os.sep, "/")
        return self._table.read(read_bytes(record.map, file), record.size, file)


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``coco:DIR``. Raises DataError where there are no annotations."""
    return tuple(parts_of(f"coco:{folder}", data_folder("coco", folder)))


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` has annotations in COCO's form."""
    return bool(find_parts(root))


@uncollected()
def open_coco(folder: str, split: str, classes: tuple[str, ...] | None) -> CocoSource:
    """Opens ``coco:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"coco:{folder}", data_folder("coco", folder), Findings()
    parts = parts_of(name, root)
    part = parts[resolve_split(name, split, parts, findings)]
    file = part.file
    if not part.usual:
        where = listed(f"{each or '.'}/" for each in part.folders)
        message = f"is taken for the annotations of the split {part.split!r}, with images in {where}"
        findings.add(file, message, f"{ANNOTATIONS}/instances_{part.split}.json would be its usual name.", "kept")
    content = read_json(root / file, file, findings)
    refuse(name, findings.problems)
    categories = read_categories(content["categories"], file, findings)
    refuse(name, findings.problems)
    classes = categories.names if classes is None else classes
    entries, known = read_images(content["images"], file, findings)
    images = _measured(root, _located(root, part, entries, findings), file, findings)
    # COCO's own evaluation ranks detections of one score by the ids of their images: in another order AP is another.
    images.sort(key=lambda image: (isinstance(image[0].id, str), image[0].id))
    _report_unlisted(root, part, content["images"], findings)
    positions = {**dict.fromkeys(known, LEFT_OUT), **{entry.id: position for position, (entry, _) in enumerate(images)}}
    labels = _labels(categories, classes, file, findings)
    sizes = [record.size for _, record in images]
    annotated = read_annotations(content["annotations"], positions, sizes, labels, file, findings)
    table, maps = read_maps(root, part.split, [entry.file_name for entry, _ in images], sizes, findings)
    kept = [position for position, path in enumerate(maps) if path is not None]
    records = [dataclasses.replace(images[i][1], objects=annotated.objects[i], map=maps[i]) for i in kept]
    findings.finish(file)
    ids = dict(zip(categories.names, categories.ids, strict=True))
    category_ids = tuple(ids.get(each) for each in classes)
    found, image_ids = len(content["images"]), tuple(images[i][0].id for i in kept)
    return CocoSource(name, split, classes, records, findings, found, root, image_ids, category_ids, annotated, kept, table)


def _labels(categories: Categories, classes: tuple[str, ...], file: str, findings: Findings) -> dict[int, int | None]:
    """Id of each category -> class, None where training does not have it."""
    for unknown in [known for known in categories.names if known not in classes]:
        message = "the class is not among those of training"
        findings.add(file, message, class_cure(unknown, classes), "object left out", "categories", "name", unknown)
    labels = [classes.index(known) if known in classes else None for known in categories.names]
    return {key: labels[number] for key, number in categories.numbers.items()}


def _located(root: pathlib.Path, part: Part, entries: Sequence[ImageEntry], findings: Findings) -> dict[str, ImageEntry]:
    """Path -> entry of the images that are there."""
    folders = [root / folder for folder in part.folders]
    what = listed(f"{folder}/" if folder else "the data set's folder" for folder in part.folders)
    found: dict[str, ImageEntry] = {}

    def add(entry: ImageEntry, message: str, cure: str) -> None:
        findings.add(part.file, message, cure, "left out", entry.record, "file_name", entry.file_name)

    for entry in entries:
        try:
            path = find(entry.file_name, folders, root, what, findings)
        except NotFoundError as error:
            add(entry, error.message, error.cure)
            continue
        if path in found:
            message = f"the file belongs to {found[path].record} already"
            add(entry, message, "Name each file once, and merge the annotations.")
        else:
            found[path] = entry
    return found


def _report_unlisted(root: pathlib.Path, part: Part, entries: Sequence[object], findings: Findings) -> None:
    """Reports images in the split's own folder that the file does not list. What lies in a folder of several splits may be
    another's.
    """
    names = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    named = {os.path.normpath(name.replace("\\", "/")) for name in names if isinstance(name, str)}
    for folder in part.own:
        paths = (os.path.join(at, name) for at, _, names in os.walk(root / folder) for name in names if name[0] != ".")
        found = sorted(path[len(str(root / folder)) + 1 :] for path in paths if path.lower().endswith(SUFFIXES))
        # A listed name may be relative to this folder, or to one of those above it.
        above = [folder.split("/", depth)[-1] for depth in range(folder.count("/") + 1)]
        unlisted = [name for name in found if named.isdisjoint((name, *(f"{each}/{name}" for each in above)))]
        if unlisted:
            message = f"{len(unlisted)} of the {len(found)} images in {folder}/ are not listed, for example this one"
            cure = "List them, also those without objects, or delete them."
            findings.add(part.file, message, cure, "left out", "", "images", f"{folder}/{unlisted[0]}")


def _measured(
    root: pathlib.Path, found: dict[str, ImageEntry], file: str, findings: Findings
) -> list[tuple[ImageEntry, Record]]:
    """The images that can be read, as far as their headers tell, and have the size that is declared."""
    files = [(path, pathlib.Path(path).relative_to(root).as_posix()) for path in found]
    images = []
    for (path, id), entry, size in zip(files, found.values(), measure(files, findings), strict=True):
        if size is not None and entry.size not in (None, size):
            height, width = entry.size
            value = f"{width:g} x {height:g}"
            findings.add(file, *other_size(width, height, size), "left out", entry.record, "width, height", value)
        elif size is not None:
            images.append((entry, Record(id, path, size)))
    return images
