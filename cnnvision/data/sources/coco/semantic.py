"""Semantic maps beside COCO's annotations.

    DIR/annotations/semantic_SPLIT/STEM.png    8-bit or 16-bit ids; STEM as of the image
    DIR/annotations/semantic_labels.txt        a line ``ID: NAME`` for each id

Ids named ``unlabeled`` or ``ignore`` are IGNORE, and so is 0 where no line names it.
"""

import os
import pathlib
import re

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings
from cnnvision.data.files import decode_text
from cnnvision.data.maps.class_tables import MOST_CLASSES, ClassTable
from cnnvision.data.sources.folders import files_below
from cnnvision.data.sources.records import maps_fit
from cnnvision.types import IGNORE

LABELS = "annotations/semantic_labels.txt"
IGNORED_NAMES = ("unlabeled", "unlabelled", "ignore")


def read_maps(
    root: pathlib.Path, part: str, names: list[str], sizes: list[tuple[int, int]], findings: Findings
) -> tuple[ClassTable | None, list[str | None]]:
    """The table of the maps of one split, and where they lie.

    Args:
        root: the data set's folder.
        part: name of the split.
        names: file names of the images, as the annotations have them.
        sizes: (height, width) of each.
        findings: is told of maps that cannot be used, and of those without an image; and how many images have none.

    Returns:
        The table, or None where there are no maps or none that can be used; and for each image the path of its map, "" where
        it has none, None where it cannot be used as far as its header tells.
    """
    maps = root / f"annotations/semantic_{part}"
    table = _read_labels(root, maps, findings) if maps.is_dir() else None
    return table, _find(root, maps, names, sizes, findings) if table else [""] * len(names)


def _read_labels(root: pathlib.Path, maps: pathlib.Path, findings: Findings) -> ClassTable | None:
    """The table of semantic_labels.txt; None where there is none, and where `findings` then refuses the data set."""
    if not (root / LABELS).is_file():
        message = f"the semantic maps are not read: there is no {LABELS} that says what their values mean"
        cure = "Write it, with a line `ID: NAME` for each value."
        return findings.add(maps.relative_to(root).as_posix(), message, cure, "kept")
    names: dict[int, str] = {}
    for number, line in enumerate(decode_text((root / LABELS).read_bytes(), LABELS, findings).splitlines(), 1):
        match = re.fullmatch(r"([0-9]{1,5})\s*[:\s]\s*(\S.*)", line.strip())
        if line.strip() and (not match or int(match[1]) > 65535 or names.get(int(match[1]), match[2]) != match[2]):
            cure = "Write `ID: NAME`, each ID once, from 0 to 65535."
            findings.add(LABELS, "the line gives no id a name of its own", cure, "refused", f"line {number}", value=line)
        elif match:
            names[int(match[1])] = match[2]
    classes = tuple(dict.fromkeys(name for name in names.values() if name.casefold() not in IGNORED_NAMES))
    if not 0 < len(classes) <= MOST_CLASSES:
        return findings.add(LABELS, f"names {len(classes)} classes", f"Name 1 ... {MOST_CLASSES}.", "refused")
    numbers = {name: number for number, name in enumerate(classes)}
    ids = {0: IGNORE, **{value: numbers.get(name, IGNORE) for value, name in names.items()}}
    return ClassTable(classes, ids, ignoring=f"write a line `{IGNORE}: {IGNORED_NAMES[-1]}` into {LABELS}")


def _find(
    root: pathlib.Path, maps: pathlib.Path, names: list[str], sizes: list[tuple[int, int]], findings: Findings
) -> list[str | None]:
    where = maps.relative_to(root).as_posix()
    there = {
        os.path.splitext(os.path.relpath(path, maps).replace(os.sep, "/"))[0]: path
        for path in files_below(maps)
        if path.lower().endswith(SUFFIXES)
    }
    stems = [os.path.splitext(name.replace("\\", "/"))[0] for name in names]
    stems = [stem if stem in there else stem.rsplit("/", 1)[-1] for stem in stems]
    found: list[str | None] = [there.get(stem, "") for stem in stems]
    missing = [stem for stem, path in zip(stems, found, strict=True) if not path]
    if missing:
        message = f"{len(missing)} images have no semantic map (the first is {missing[0]}.png), and all of theirs is ignored"
        findings.add(where, message, "Add the maps to learn from them.", "kept")
    for stem in sorted(there.keys() - set(stems)):
        file = pathlib.Path(there[stem]).relative_to(root).as_posix()
        findings.add(file, "the semantic map has no image that is used", "Add the image, or delete the map.", "kept")
    used = [index for index, path in enumerate(found) if path]
    files = [(found[index], pathlib.Path(found[index]).relative_to(root).as_posix()) for index in used]
    for index, fits in zip(used, maps_fit(files, [sizes[index] for index in used], findings), strict=True):
        found[index] = found[index] if fits else None
    return found
