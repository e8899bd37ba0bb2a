"""One annotation file of Pascal VOC, read as what it is: a file from somewhere.

A document type is refused: its entities could unfold to gigabytes or name other files. The text is decoded before it is
looked at, so that no encoding hides one.
"""

import dataclasses
import math
import re
from xml.etree import ElementTree

from cnnvision.data.faults import Findings
from cnnvision.data.files import decode_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"1": True, "true": True, "0": False, "false": False, "": False}
"""What `difficult` may read, in small letters."""
_ENCODING = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


@dataclasses.dataclass(frozen=True)
class Box:
    """One object as it is written.

    Attributes:
        record: which object of the file, for messages.
        name: its class.
        difficult: whether it is marked so.
        corners: xmin ymin xmax ymax, as they stand there.
    """

    record: str
    name: str
    difficult: bool
    corners: tuple[float, float, float, float]

    @property
    def empty(self) -> bool:
        """Whether two corners agree. (By VOC's count that would be one pixel; it is a slip of the mouse.)"""
        return self.corners[0] == self.corners[2] or self.corners[1] == self.corners[3]

    @property
    def counts_from_zero(self) -> bool:
        """Whether a corner lies where VOC, which counts from 1, has no pixel."""
        return not self.empty and any(0 <= corner < 1 for corner in self.corners)

    def continuous(self, from_zero: bool) -> tuple[float, ...]:
        """The corners as continuous pixels. Args: from_zero: whether the file counts pixels from 0 and excludes the last."""
        if from_zero or self.empty:
            return self.corners
        x1, y1, x2, y2 = self.corners
        less_x, less_y = x1 < x2, y1 < y2  # corners in the wrong order are put right later
        return x1 - less_x, y1 - less_y, x2 - (not less_x), y2 - (not less_y)


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What one file says.

    Attributes:
        file: its name, relative to the data set's folder.
        filename: that of the image, "" where it is not told.
        size: (height, width), or None where it is not told.
        boxes: the objects that could be read.
    """

    file: str
    filename: str
    size: tuple[float, float] | None
    boxes: tuple[Box, ...]


def read_annotation(data: bytes, file: str) -> tuple[Annotation | None, Findings]:
    """Reads one XML.

    Args:
        data: the file.
        file: its name, for messages.

    Returns:
        What it says, or None where nothing of it can be used; and what was wrong with it.
    """
    findings = Findings()

    def unusable(message: str, cure: str) -> tuple[None, Findings]:
        findings.add(file, message, cure, "left out")
        return None, findings

    if not data.strip():
        return unusable("the file is empty", "Write it again, or delete it with its image.")
    declared = _ENCODING.search(data[:200])
    text = decode_text(data, file, findings, declared[1].decode("ascii") if declared else "utf-8")
    if "<!DOCTYPE" in text:  # entities can be declared nowhere else
        return unusable("the XML declares a document type, and was not read", "Delete <!DOCTYPE ...> from the file.")
    try:
        root = ElementTree.fromstring(_DECLARATION.sub("", text, count=1))
    except (ElementTree.ParseError, ValueError) as error:
        return unusable(f"is no well-formed XML: {error}", "Mend it at that place, or write it again.")
    if root.tag != "annotation":
        return unusable(f"is no VOC annotation: its root is <{root.tag}>", "The root should be <annotation>.")
    size = _size(root, file, findings)
    boxes = [_box(element, f"object {i}", file, findings) for i, element in enumerate(root.findall("object"))]
    return Annotation(file, _text(root, "filename"), size, tuple(b for b in boxes if b)), findings


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _size(root: ElementTree.Element, file: str, findings: Findings) -> tuple[float, float] | None:
    texts = [_text(root, f"size/{side}") for side in ("height", "width")]
    if not any(texts):
        return None
    sides = [_number(text) for text in texts]
    if None in sides or 0 in sides or not all(map(math.isfinite, sides)):
        value = f"width {texts[1]}, height {texts[0]}"
        cure = "Write the image's width and height. Until then boxes are taken as pixels of the image as it is."
        findings.add(file, "the declared size is none", cure, "kept", field="size", value=value)
        return None
    return sides[0], sides[1]


def _box(element: ElementTree.Element, record: str, file: str, findings: Findings) -> Box | None:
    name = " ".join(_text(element, "name").split())
    if not name:
        return findings.add(file, "the object has no name", "Write its class.", "object left out", record, "name")
    record = f"{record} ({name})"
    corners = []
    for side in CORNERS:
        text = _text(element, f"bndbox/{side}")
        value = _number(text)
        if value is None:
            message = "is not a number" if text else "is missing"
            return findings.add(file, message, "Write a number.", "object left out", record, f"bndbox/{side}", text)
        corners.append(value)
    difficult = _text(element, "difficult")
    if difficult.lower() not in FLAGS:
        message, cure = "is neither 0 nor 1, and was taken for 0", "Write 1 for an object that is hard to recognise, else 0."
        findings.add(file, message, cure, "repaired", record, "difficult", difficult)
    return Box(record, name, FLAGS.get(difficult.lower(), False), tuple(corners))
