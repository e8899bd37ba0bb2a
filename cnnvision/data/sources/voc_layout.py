"""Where a folder of Pascal VOC's XML keeps its parts.

JPEGImages/, Annotations/, ImageSets/Main/SPLIT.txt    VOC itself, or a copy without lists; also within VOCdevkit/VOC2012
images/, annotations/ (or xmls, annots, labels)        many published sets
SPLIT/*.jpg, SPLIT/*.xml                               Roboflow, and the tutorials of TensorFlow's detectors
*.jpg, *.xml                                           labelImg
"""

import dataclasses
import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.sources.splits import WHOLE, split_word
from cnnvision.errors import DataError

LISTS = "ImageSets/Main"
_IMAGES = ("jpegimages", "images", "image", "img", "imgs")
_XMLS = ("annotations", "annotation", "xmls", "xml", "annots", "labels")


@dataclasses.dataclass(frozen=True)
class Part:
    """One split. Attributes: images, xmls: folders; list: of the names of its images, or None for all."""

    images: pathlib.Path
    xmls: pathlib.Path
    list: pathlib.Path | None


def find_parts(root: pathlib.Path) -> dict[str, Part]:
    """Split -> its part; the split `WHOLE` where there is one part without lists; none where `root` is of another kind."""
    for base in _bases(root):
        folders = _sides(base)
        if folders and (lists := _lists(base)):
            return {name: Part(*folders, path) for name, path in lists.items()}
        if folders:
            splits = {name: (folders[0] / name, folders[1] / name) for name in _folders(folders[0])}
            divided = {name: sides for name, sides in splits.items() if _has_xml(sides[1])}
            if divided:
                return {name: Part(*sides, None) for name, sides in divided.items()}
            if _has_xml(folders[1]):
                return {WHOLE: Part(*folders, None)}
    splits = {
        folder.name: folder for above in (root, root / "images") for folder in _paths(above) if split_word(folder.name)
    }
    mixed = {name: folder for name, folder in splits.items() if _has_xml(folder)}
    both = {name: sides for name, folder in splits.items() if (sides := _sides(folder)) and _has_xml(sides[1])}
    if mixed or both:
        parts = {name: Part(folder, folder, None) for name, folder in mixed.items()}
        return {**parts, **{name: Part(*sides, None) for name, sides in both.items()}}
    beside = next((folder for folder in (root, root / "images") if _has_xml(folder)), None)
    return {WHOLE: Part(beside, beside, None)} if beside else {}


def parts_of(name: str, root: pathlib.Path) -> dict[str, Part]:
    """As `find_parts`. Raises DataError, which says what is there instead, where there are none."""
    parts = find_parts(root)
    if not parts:
        there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise DataError(f"{name}: should hold JPEGImages, Annotations and {LISTS}, but there is {there}.")
    return parts


def _bases(root: pathlib.Path) -> list[pathlib.Path]:
    """The folder itself, VOCdevkit's years in it, the latest first, and a single folder that it may be wrapped in."""
    years = [*root.glob("VOC[0-9]*"), *root.glob("VOCdevkit/VOC[0-9]*")]
    wrapped = _paths(root)
    return [root, *sorted(years, reverse=True), *(wrapped if len(wrapped) == 1 else [])]


def _sides(base: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path] | None:
    there = {folder.name.casefold(): folder for folder in _paths(base)}
    images, xmls = (next((there[name] for name in names if name in there), None) for names in (_IMAGES, _XMLS))
    if images and xmls and (xmls / "xmls").is_dir():  # Oxford's pets
        xmls = xmls / "xmls"
    return (images, xmls) if images and xmls else None


def _lists(base: pathlib.Path) -> dict[str, pathlib.Path]:
    """Name -> list in ImageSets/Main, without those of single classes (CLASS_train)."""
    found = {path.stem: path for path in sorted((base / LISTS).glob("*.txt")) if not path.name.startswith(".")}
    return {name: path for name, path in found.items() if not ("_" in name and name.rsplit("_", 1)[1] in found)}


def _paths(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")


def _folders(folder: pathlib.Path) -> list[str]:
    return [path.name for path in _paths(folder) if split_word(path.name)]


def _has_xml(folder: pathlib.Path) -> bool:
    """Whether a folder holds an XML that is one of VOC, going by the first that it has."""
    if not folder.is_dir():
        return False
    for path in sorted(folder.glob("*.xml"))[:3]:
        with open(path, "rb") as stream:
            if b"<annotation" in stream.read(2000):
                return True
    return False


def images_in(folder: pathlib.Path) -> list[str]:
    """Names of the image files in a folder, sorted."""
    return sorted(name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and name[0] != ".")
