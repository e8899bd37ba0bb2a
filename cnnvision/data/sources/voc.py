"""`voc:DIR`: the layout of Pascal VOC.

    DIR/JPEGImages/ID.jpg
    DIR/Annotations/ID.xml
    DIR/ImageSets/Main/SPLIT.txt    one ID a line

VOC counts pixels from 1 and includes the last one, so a box of the XML becomes x1 = xmin − 1, y1 = ymin − 1, x2 = xmax,
y2 = ymax in continuous pixels. Tools that write the same XML but count from 0 betray themselves by a 0: where any box of the
folder has a corner from 0 up to, but not including, 1, nothing is subtracted in any of them, which `problems` says.
Difficult objects are crowd. The class list is that of all annotations of the folder, sorted, whatever the split.

Where the declared size disagrees with the image, its boxes were drawn on another picture and the example is left out; a
declared size of 0 x 0 counts as unknown. An example whose boxes are all unusable stays, as an image without objects.
"""

import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, other_size, similar_names
from cnnvision.data.files import decode_text
from cnnvision.data.sources.records import (
    Record,
    RecordSource,
    class_cure,
    data_folder,
    locate,
    measure,
    near_file,
    objects_of,
    resolve_split,
)
from cnnvision.data.sources.voc_xml import Annotation, read_annotation
from cnnvision.errors import DataError
from cnnvision.types import Objects

LISTS = "ImageSets/Main"


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``voc:DIR``: of the lists in ImageSets/Main, without those of single classes (CLASS_train)."""
    stems = {p.stem for p in (data_folder("voc", folder) / LISTS).glob("*.txt") if not p.name.startswith(".")}
    return tuple(sorted(s for s in stems if not ("_" in s and s.rsplit("_", 1)[1] in stems)))


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` has VOC's folders."""
    return (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir()


def open_voc(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``voc:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"voc:{folder}", data_folder("voc", folder), Findings()
    if not looks_right(root):
        there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise DataError(f"{name}: should hold JPEGImages, Annotations and {LISTS}, but there is {there}.")
    splits = split_names(folder)
    if not splits:
        raise DataError(
            f"{name}: has no lists of splits. Write {LISTS}/train.txt and {LISTS}/val.txt, one image name a line."
        )
    part = resolve_split(name, split, splits, findings)
    annotations = {}
    for path in sorted((root / "Annotations").glob("*.xml")):
        annotations[path.stem] = read_annotation(path.read_bytes(), f"Annotations/{path.name}")
    boxes = [box for annotation, _ in annotations.values() if annotation for box in annotation.boxes]
    from_zero = _counts_from_zero(annotations, findings)
    if classes is None:
        classes = tuple(sorted({box.name for box in boxes}))
        similar_names(classes, "Annotations", findings)
    images = _images(root, findings)
    listed = _read_list(root, part, annotations, findings)
    _report_unlisted(root, splits, images, annotations, findings)
    found: dict[str, Annotation] = {}
    for identity in listed:
        annotation = _annotation(identity, part, images, annotations, findings)
        path = annotation and _locate(root, identity, annotation, images, findings)
        if path and path in found:
            message = f"the image belongs to {found[path].file} already"
            findings.add(annotation.file, message, "Name each image in one XML.", "left out", "", "filename", path)
        elif path:
            found[path] = annotation
    records = []
    files = [(path, pathlib.Path(path).relative_to(root).as_posix()) for path in found]
    for (path, file), size in zip(files, measure(files, findings), strict=True):
        if size and _same_size(found[path], size, findings):
            records.append(Record(file, path, size, None, _objects(found[path], size, from_zero, classes, findings)))
    findings.finish("Annotations")
    return RecordSource(name, split, classes, records, findings, len(listed))


def _counts_from_zero(annotations: dict[str, tuple[Annotation | None, Findings]], findings: Findings) -> bool:
    for annotation, _ in annotations.values():
        for box in annotation.boxes if annotation else ():
            if box.counts_from_zero:
                findings.add(
                    annotation.file,
                    "a corner lies at 0, but VOC counts pixels from 1; all boxes of the folder are read as counted from 0",
                    "Correct this box, if the others do count from 1.",
                    "kept",
                    box.record,
                    "bndbox",
                    " ".join(f"{corner:g}" for corner in box.corners),
                )
                return True
    return False


def _images(root: pathlib.Path, findings: Findings) -> dict[str, str]:
    """Stem -> file name of the images, the first in order where several have one stem."""
    images: dict[str, str] = {}
    for name in sorted(n for n in os.listdir(root / "JPEGImages") if n.lower().endswith(SUFFIXES) and n[0] != "."):
        first = images.setdefault(os.path.splitext(name)[0], name)
        if first != name:
            message = f"the image has the name of {first}, which is used"
            findings.add(f"JPEGImages/{name}", message, "Give each image a name and an XML of its own.", "left out")
    return images


def _read_list(root: pathlib.Path, part: str, known: dict, findings: Findings) -> list[str]:
    """The ids of one list, each once. A second column (the -1, 0, 1 of the lists of single classes) is ignored."""
    file = f"{LISTS}/{part}.txt"
    seen: dict[str, int] = {}
    text = decode_text((root / file).read_bytes(), file, findings)
    for number, line in enumerate(text.splitlines(), 1):
        identity = line.strip()
        words = identity.split()
        if identity not in known and len(words) == 2 and words[1] in ("-1", "0", "1"):
            identity = words[0]
        if identity not in known and identity.lower().endswith((*SUFFIXES, ".xml")):
            identity = os.path.splitext(identity)[0]
        if identity in seen:
            message = f"the line repeats line {seen[identity]}, and is used once"
            findings.add(file, message, "Delete one of them.", "repaired", f"line {number}", value=identity)
        elif identity:
            seen[identity] = number
    return list(seen)


def _report_unlisted(
    root: pathlib.Path, splits: tuple[str, ...], images: dict, annotations: dict, findings: Findings
) -> None:
    """Reports images without XML and XML without image that no list names, and that a look at the lists would miss."""
    listed = {identity for split in splits for identity in _read_list(root, split, annotations, Findings())}
    for stem in sorted(images.keys() - annotations.keys() - listed):
        findings.add(f"JPEGImages/{images[stem]}", "the image has no XML", "Write one, or delete the image.", "left out")
    for stem in sorted(annotations.keys() - images.keys() - listed):
        file = f"Annotations/{stem}.xml"
        findings.add(file, "the XML has no image in JPEGImages", "Add the image, or delete the XML.", "left out")


def _annotation(identity: str, part: str, images: dict, annotations: dict, findings: Findings) -> Annotation | None:
    if identity not in annotations:
        record = images.get(identity)
        message = f"{'the image JPEGImages/' + record if record else 'the name'} has no XML in Annotations"
        cure = "Write one, or delete the line."
        findings.add(f"{LISTS}/{part}.txt", message, cure, "left out", field="name", value=identity)
        return None
    annotation, found = annotations[identity]
    findings.problems.extend(found.problems)
    return annotation


def _locate(root: pathlib.Path, identity: str, annotation: Annotation, images: dict, findings: Findings) -> str | None:
    """The image: the file with the XML's own stem, else the one that the XML names."""
    folder = root / "JPEGImages"
    wanted = images.get(identity) or annotation.filename or identity
    cure = "Name a file in JPEGImages."
    try:
        path = locate(wanted, (folder,))
    except ValueError:
        message = "the image lies outside the data set's folder, and is not opened"
        return findings.add(annotation.file, message, cure, "left out", "", "filename", wanted)
    if path is None:
        cure = f"Add it, or delete the XML.{near_file(wanted, folder, findings)}"
        message = "the XML has no image in JPEGImages"
        findings.add(annotation.file, message, cure, "left out", "", "filename", wanted)
    return path


def _same_size(annotation: Annotation, size: tuple[int, int], findings: Findings) -> bool:
    if annotation.size is None or annotation.size == size:
        return True
    findings.add(
        annotation.file,
        other_size(annotation.size[1], annotation.size[0], size),
        "Correct the size (or delete it, where the boxes are right).",
        "left out",
        "",
        "size",
        f"{annotation.size[1]:g} x {annotation.size[0]:g}",
    )
    return False


def _objects(
    annotation: Annotation, size: tuple[int, int], from_zero: bool, classes: tuple[str, ...], findings: Findings
) -> Objects:
    boxes, labels, crowd = [], [], []
    for box in annotation.boxes:
        if box.name not in classes:
            message = "the class is not among those of training"
            cure = class_cure(box.name, classes)
            findings.add(annotation.file, message, cure, "object left out", box.record, "name", box.name)
            continue
        corners = findings.box(box.continuous(from_zero), size, annotation.file, box.record, box.corners)
        if corners:
            boxes.append(corners)
            labels.append(classes.index(box.name))
            crowd.append(box.difficult)
    return objects_of(boxes, labels, crowd)
