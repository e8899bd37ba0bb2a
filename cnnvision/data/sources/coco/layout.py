"""Where a folder in COCO's form keeps its annotations and images, as the tools that write it have it.

    annotations/instances_SPLIT.json, SPLIT/*.jpg        COCO itself; images/SPLIT/ and images/ are looked in, too
    SPLIT/_annotations.coco.json, SPLIT/*.jpg            Roboflow
    annotations/instances_default.json, images/*.jpg     CVAT
    result.json, images/*.jpg                            Label Studio
    any/where/NAME.json, images beside it or below       VIA and others

Where COCO's own names are there, other files are not looked at. Elsewhere a file is one of annotations by what is in it, and
its split is the word for one in its name, else in that of its folder.
"""

import collections
import dataclasses
import mmap
import os
import pathlib

from cnnvision.data.sources.splits import split_word
from cnnvision.errors import DataError

ANNOTATIONS = "annotations"
_START, _END = "instances_", ".json"
_DEPTH = 4
"""Folders above a file that is looked at, the data set's included."""
_MOST = 30
"""JSON files in a folder; more are one an image, not one a split."""
_LISTS = (b'"images"', b'"annotations"', b'"categories"')


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of annotations.

    Attributes:
        split: its name.
        file: where it lies within the data set's folder, with `/`.
        folders: of its images, within the data set's folder, in the order in which they are looked in; "" for itself.
        own: those of `folders` that hold no other split's images.
        usual: whether it has COCO's own name.
    """

    split: str
    file: str
    folders: tuple[str, ...]
    own: tuple[str, ...]
    usual: bool


def find_parts(root: pathlib.Path) -> dict[str, Part]:
    """Split -> its part, of all files of annotations below `root`; none where there are none."""
    usual = sorted((root / ANNOTATIONS).glob(f"{_START}?*{_END}"))
    if usual:
        names = [path.name.removeprefix(_START).removesuffix(_END) for path in usual]
        own = {name: tuple(f for f in (name, f"images/{name}") if (root / f).is_dir()) for name in names}
        return {
            name: Part(name, f"{ANNOTATIONS}/{path.name}", (name, f"images/{name}", "images", ""), own[name], True)
            for name, path in zip(names, usual, strict=True)
        }
    files = [path.relative_to(root) for path in _candidates(root)]
    words = [next(filter(None, map(split_word, (file.stem, *reversed(file.parent.parts)))), None) for file in files]
    counts = collections.Counter(words)
    parts = {}
    for file, word in zip(files, words, strict=True):
        name = word if word and counts[word] == 1 else file.with_suffix("").as_posix().replace("/", "_")
        parts[name] = _part(root, name, word, file, files)
    return parts


def parts_of(name: str, root: pathlib.Path) -> dict[str, Part]:
    """As `find_parts`. Raises DataError, which says what is there instead, where there are none."""
    parts = find_parts(root)
    if not parts:
        there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise DataError(
            f"{name}: should hold {ANNOTATIONS}/{_START}SPLIT{_END}, or another JSON with the lists images, annotations and "
            f"categories, but there is {there}."
        )
    return parts


def _part(root: pathlib.Path, name: str, word: str | None, file: pathlib.Path, files: list[pathlib.Path]) -> Part:
    beside = "" if file.parent == pathlib.Path() else file.parent.as_posix()
    below = f"{beside}/images" if beside else "images"
    split = [f"{above}{word}" for above in ("", "images/", f"{beside}/" if beside else "") if word]
    folders = [f for f in dict.fromkeys([*split, beside, below, "images", ""]) if (root / f).is_dir()]
    shared = any(other != file and other.parent == file.parent for other in files)
    own = [f for f in folders if f in split or (f and f in (beside, below) and not shared)]
    return Part(name, file.as_posix(), tuple(folders), tuple(own), False)


def _candidates(root: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for top, folders, names in os.walk(root):
        depth = len(pathlib.Path(top).relative_to(root).parts) + 1
        folders[:] = sorted(name for name in folders if name[0] != "." and depth < _DEPTH)
        texts = sorted(name for name in names if name.lower().endswith(".json") and name[0] != ".")
        if len(texts) <= _MOST:
            found += [path for name in texts if _is_coco(path := pathlib.Path(top, name))]
    return sorted(found)


def _is_coco(path: pathlib.Path) -> bool:
    """Whether a file has the names of COCO's lists in it; a file of gigabytes is searched, not read."""
    try:
        if not path.stat().st_size:
            return False
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(name) >= 0 for name in _LISTS)
    except OSError:
        return False
