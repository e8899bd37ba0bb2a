"""`voc:DIR`: the layout of Pascal VOC.

    DIR/JPEGImages/ID.jpg
    DIR/Annotations/ID.xml
    DIR/ImageSets/Main/SPLIT.txt    one ID a line

Other places of the same XML are told in voc_layout.py; without lists all XMLs of a folder are one split.

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
from cnnvision.data.sources.named_files import NotFoundError, find
from cnnvision.data.sources.records import (
    Record,
    RecordSource,
    class_cure,
    data_folder,
    measure,
    objects_of,
)
from cnnvision.data.sources.splits import resolve_split
from cnnvision.data.sources.voc_layout import Part, find_parts, images_in, parts_of
from cnnvision.data.sources.voc_xml import Annotation, read_annotation
from cnnvision.types import Objects


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``voc:DIR``: of the lists in ImageSets/Main, or of its folders; "" where it has none."""
    return tuple(sorted(parts_of(f"voc:{folder}", data_folder("voc", folder))))


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` has XML of VOC's form, with images."""
    return bool(find_parts(root))


def open_voc(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``voc:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"voc:{folder}", data_folder("voc", folder), Findings()
    parts = parts_of(name, root)
    part = parts[resolve_split(name, split, parts, findings)]
    folders = {each.xmls: _read_all(root, each.xmls) for each in parts.values()}
    everything = [annotation for of_folder in folders.values() for annotation, _ in of_folder.values() if annotation]
    from_zero = _counts_from_zero(everything, findings)
    if classes is None:
        classes = tuple(sorted({box.name for annotation in everything for box in annotation.boxes}))
        similar_names(classes, _within(root, part.xmls), findings)
    annotations, images = folders[part.xmls], _images(root, part.images, findings)
    names = _read_list(root, part.list, annotations, findings) if part.list else list(annotations)
    _report_unlisted(root, part, [each for each in parts.values() if each.xmls == part.xmls], images, annotations, findings)
    found: dict[str, Annotation] = {}
    for identity in names:
        annotation = _annotation(root, identity, part, images, annotations, findings)
        path = annotation and _locate(root, part, identity, annotation, images, findings)
        if path and path in found:
            message = f"the image belongs to {found[path].file} already"
            findings.add(annotation.file, message, "Name each image in one XML.", "left out", "", "filename", path)
        elif path:
            found[path] = annotation
    records = []
    files = [(path, _within(root, path)) for path in found]
    for (path, file), size in zip(files, measure(files, findings), strict=True):
        if size and _same_size(found[path], size, findings):
            records.append(Record(file, path, size, None, _objects(found[path], size, from_zero, classes, findings)))
    findings.finish(_within(root, part.xmls))
    return RecordSource(name, split, classes, records, findings, len(names))


def _within(root: pathlib.Path, path: str | pathlib.Path) -> str:
    return pathlib.Path(path).relative_to(root).as_posix()


def _read_all(root: pathlib.Path, folder: pathlib.Path) -> dict[str, tuple[Annotation | None, Findings]]:
    """Stem -> what each XML of a folder says, and what is wrong with it."""
    paths = sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))
    return {path.stem: read_annotation(path.read_bytes(), _within(root, path)) for path in paths}


def _counts_from_zero(annotations: list[Annotation], findings: Findings) -> bool:
    for annotation in annotations:
        for box in annotation.boxes:
            if box.counts_from_zero:
                findings.add(
                    annotation.file,
                    "a corner lies below 1, but VOC counts pixels from 1; all boxes are read as counted from 0",
                    "Correct this box, if the others do count from 1.",
                    "kept",
                    box.record,
                    "bndbox",
                    " ".join(f"{corner:g}" for corner in box.corners),
                )
                return True
    return False


def _images(root: pathlib.Path, folder: pathlib.Path, findings: Findings) -> dict[str, str]:
    """Stem -> file name of the images, the first in order where several have one stem."""
    images: dict[str, str] = {}
    for name in images_in(folder):
        first = images.setdefault(os.path.splitext(name)[0], name)
        if first != name:
            message = f"the image has the name of {first}, which is used"
            cure = "Give each image a name and an XML of its own."
            findings.add(_within(root, folder / name), message, cure, "left out")
    return images


def _read_list(root: pathlib.Path, path: pathlib.Path, known: dict, findings: Findings) -> list[str]:
    """The ids of one list, each once. A second column (the -1, 0, 1 of the lists of single classes) is ignored, and of the
    path of an image or XML its stem is the id.
    """
    file = _within(root, path)
    seen: dict[str, int] = {}
    text = decode_text(path.read_bytes(), file, findings)
    for number, line in enumerate(text.splitlines(), 1):
        identity = line.strip()
        words = identity.split()
        if identity not in known and len(words) == 2 and words[1] in ("-1", "0", "1"):
            identity = words[0]
        if identity not in known and identity.lower().endswith((*SUFFIXES, ".xml")):
            identity = os.path.splitext(identity)[0]
        if identity not in known and (stem := identity.replace("\\", "/").rsplit("/", 1)[-1]) in known:
            identity = stem
        if identity in seen:
            message = f"the line repeats line {seen[identity]}, and is used once"
            findings.add(file, message, "Delete one of them.", "repaired", f"line {number}", value=identity)
        elif identity:
            seen[identity] = number
    return list(seen)


def _report_unlisted(
    root: pathlib.Path, part: Part, parts: list[Part], images: dict, annotations: dict, findings: Findings
) -> None:
    """Reports images without XML and XML without image that no list names, and that a look at the lists would miss."""
    listed = {name for each in parts if each.list for name in _read_list(root, each.list, annotations, Findings())}
    for stem in sorted(images.keys() - annotations.keys() - listed):
        file = _within(root, part.images / images[stem])
        findings.add(file, "the image has no XML", "Write one, or delete the image.", "left out")
    for stem in sorted(annotations.keys() - images.keys() - listed) if part.list else ():
        file, message = _within(root, part.xmls / f"{stem}.xml"), f"the XML has no image in {_within(root, part.images)}"
        findings.add(file, message, "Add the image, or delete the XML.", "left out")


def _annotation(
    root: pathlib.Path, identity: str, part: Part, images: dict, annotations: dict, findings: Findings
) -> Annotation | None:
    if identity not in annotations:
        what = f"the image {_within(root, part.images / images[identity])}" if identity in images else "the name"
        message = f"{what} has no XML in {_within(root, part.xmls)}"
        cure = "Write one, or delete the line."
        findings.add(_within(root, part.list), message, cure, "left out", field="name", value=identity)
        return None
    annotation, found = annotations[identity]
    findings.problems.extend(found.problems)
    return annotation


def _locate(
    root: pathlib.Path, part: Part, identity: str, annotation: Annotation, images: dict, findings: Findings
) -> str | None:
    """The image: the file with the XML's own stem, else the one that the XML names."""
    wanted = images.get(identity) or annotation.filename or identity
    folder = _within(root, part.images)
    try:
        return find(wanted, (part.images,), root, "the data set's folder" if folder == "." else f"{folder}/", findings)
    except NotFoundError as error:
        message = f"the XML has no image in {folder}: {error.message}"
        findings.add(annotation.file, message, error.cure, "left out", "", "filename", wanted)
        return None


def _same_size(annotation: Annotation, size: tuple[int, int], findings: Findings) -> bool:
    if annotation.size is None or annotation.size == size:
        return True
    findings.add(
        annotation.file,
        *other_size(annotation.size[1], annotation.size[0], size),
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
