"""A data set without splits is divided into train and val: the same on every machine, wherever it lies.

What decides is the content of the image files, not their names or order. Pictures that are nearly the same (another size or
compression, brighter, neighbours of a video) stay on one side, or val would tell how well the network remembers. About one
image in five is for val, of each class alike; the rarest classes are dealt out first (iterative stratification, Sechidis et
al. 2011).

    DIR/split.csv    file,split    where it is there it says which is which: `doctor --split-file` writes it
"""

import collections
import concurrent.futures
import csv
import hashlib
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cnnvision.data.decode import FORMATS
from cnnvision.data.faults import Findings
from cnnvision.data.files import read_csv
from cnnvision.types import Source

FILE = "split.csv"
VAL_SHARE = 0.2
SIDE = 32
"""Pixels to a side of the grey pictures that are compared."""
RESIDUAL = 3.0
"""Of 256 levels: how far two pictures may differ, root mean square, once brightness and contrast are matched."""
CORRELATION = 0.97
"""How alike they must be at least: dark pictures differ by few levels, whatever they show."""
MOST_COMPARED = 20_000
"""Pictures that are compared each with each; of more only the same files are found."""
_HEAD = 4096


def divide(source: Source) -> tuple[list[int], list[int]]:
    """The indices of train and of val, both in the order of the source; val is empty where there is one picture alone."""
    few = len(source) <= MOST_COMPARED
    with concurrent.futures.ThreadPoolExecutor() as pool:
        looked = list(pool.map(lambda index: _look(source, index, few), range(len(source))))
    digests = [digest for digest, _ in looked]
    groups = group(digests, np.array([grey for _, grey in looked]).reshape(len(source), -1))
    classes = [_classes_of(source, index) for index in range(len(source))]
    val = set(choose(groups, digests, classes))
    return [i for i in range(len(source)) if i not in val], sorted(val)


def group(digests: Sequence[str], greys: np.ndarray) -> list[list[int]]:
    """Indices of pictures that belong together; each in one group.

    Args:
        digests: of the files.
        greys: float [n, `SIDE`²], the pictures in small.
    """
    parent = list(range(len(digests)))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        parent[top(index)] = top(first.setdefault(digest, index))
    copies = list(parent)
    if len(digests) <= MOST_COMPARED:
        for one, other in _near(greys):
            parent[top(one)] = top(other)
    for tree in (parent, copies):
        parent = tree
        groups = collections.defaultdict(list)
        for index in range(len(digests)):
            groups[top(index)].append(index)
        # Where most of the pictures are like each other, as of one microscope, nearness says nothing.
        if max(map(len, groups.values()), default=0) <= max(1, len(digests) // 2):
            break
    return list(groups.values())


def choose(groups: Sequence[Sequence[int]], digests: Sequence[str], classes: Sequence[Sequence[int]]) -> list[int]:
    """The indices that are for val: whole groups, about `VAL_SHARE` of the images of each class, at least one group of two.

    Args:
        groups: of indices.
        digests: of the files, from which the order comes.
        classes: the classes of each image.
    """
    order = sorted(groups, key=lambda members: min(digests[i] for i in members))
    having: dict[int, list[Sequence[int]]] = collections.defaultdict(list)
    for members in order:
        for label in {label for i in members for label in classes[i]} or {-1}:
            having[label].append(members)
    side: dict[int, bool] = {}
    for _, of_class in sorted(having.items(), key=lambda item: (sum(map(len, item[1])), item[0])):
        wanted = VAL_SHARE * sum(map(len, of_class))
        got = sum(len(members) for members in of_class if side.get(members[0]))
        for members in of_class:
            if members[0] not in side:
                side[members[0]] = got + len(members) / 2 <= wanted
                got += len(members) * side[members[0]]
    if len(order) > 1 and not any(side.values()):
        fullest = max(having.values(), key=lambda of_class: (sum(map(len, of_class)), len(of_class)))
        side[min(fullest, key=len)[0]] = True
    return [i for members in order if side[members[0]] for i in members]


def read_division(root: pathlib.Path, findings: Findings) -> dict[str, str] | None:
    """File -> split as ``DIR/split.csv`` has it; None where it is not there, or refuses the data set."""
    path = root / FILE
    table = read_csv(path, "file,split", findings) if path.is_file() else None
    if not table:
        return None
    if set(table.columns) != {"file", "split"}:
        findings.add(FILE, "the columns are others", "Write file,split as its header.", "refused", "header")
        return None
    rows = [dict(zip(table.columns, cells, strict=False)) for _, cells in table.rows]
    return {row["file"]: row.get("split", "") for row in rows}


def write_division(path: pathlib.Path, parts: dict[str, Sequence[str]]) -> None:
    """Writes which files are of which split. Args: parts: split -> ids of its examples."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("file", "split"))
        writer.writerows((file, split) for split, files in parts.items() for file in files)


def _look(source: Source, index: int, few: bool) -> tuple[str, np.ndarray]:
    """The digest of an image file, and the picture in small, float32 [SIDE²]; zeros where it cannot be decoded. Of many
    files only the size and the first bytes are digested, and the pictures not looked at.
    """
    if not few:
        with open(source.records[index].path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return hashlib.sha256(f"{size} ".encode() + stream.read(_HEAD)).hexdigest(), np.zeros(1, np.float32)
    data = source.original(index)[1]
    digest = hashlib.sha256(data).hexdigest()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.draft("L", (2 * SIDE, 2 * SIDE))  # a JPEG's own smaller scales: eight times less work
        grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        return digest, np.asarray(grey, np.float32).ravel()
    except Exception:  # Pillow's readers raise a dozen kinds; that a file is damaged is said where it is read
        return digest, np.zeros(SIDE * SIDE, np.float32)


def _near(greys: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of pictures that are nearly the same up to brightness and contrast."""
    centred = greys - greys.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1))
    unit = (centred / np.maximum(spread, 1.0)[:, None] / SIDE).astype(np.float32)
    pairs = []
    for start in range(0, len(unit), 1024):
        likeness = np.clip(unit[start : start + 1024] @ unit.T, -1, 1)
        residual = np.maximum(spread[start : start + 1024, None], spread[None]) * np.sqrt(1 - likeness**2)
        one, other = np.nonzero((likeness >= CORRELATION) & (residual <= RESIDUAL))
        pairs += [(int(i) + start, int(j)) for i, j in zip(one, other, strict=True) if i + start < j]
    return pairs


def _classes_of(source: Source, index: int) -> tuple[int, ...]:
    example = source.read(index, image=False)
    labels = () if example.objects is None else example.objects.labels.tolist()
    return tuple({*labels, *(() if example.label is None else (example.label,))})
