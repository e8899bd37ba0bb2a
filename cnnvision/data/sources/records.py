"""Sources over image files: one `Record` an image, made when the source is opened; pixels are decoded on demand."""

import concurrent.futures
import dataclasses
import difflib
import functools
import hashlib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from cnnvision.data.decode import decode_image, image_size, map_size
from cnnvision.data.faults import Findings, RecordError, refuse, refuse_empty
from cnnvision.data.files import read_bytes
from cnnvision.data.maps.class_ids import check_map_size
from cnnvision.errors import DataError, nearest
from cnnvision.types import COCO_AREA_RANGES, Example, Masks, Objects, Problem

Planes = tuple[Objects | None, np.ndarray | None, np.ndarray | None]
"""Objects, semantic map and cells of an `Example`."""

_CHUNK = 4096
"""Files that the threads work on at a time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is known of one image without decoding it.

    Attributes:
        id: path of the image relative to the data set's folder, with `/`.
        path: where the image lies.
        size: (height, width), pixels, upright.
        label: class of the whole image, or None.
        objects: without masks; None where the source has no boxes.
        map: where the map of class or instance ids lies; "" where there is none.
    """

    id: str
    path: str
    size: tuple[int, int]
    label: int | None = None
    objects: Objects | None = None
    map: str = ""


class RecordSource:
    """A `Source` (cnnvision/types.py) over a list of records."""

    annotations_at_hand = True
    """Whether reading annotations is cheap: all are in memory."""

    meaning = ""
    """What the values in the files of semantic maps stand for, as text; "" where they need no table."""

    def __init__(
        self,
        name: str,
        split: str,
        classes: tuple[str, ...],
        records: Sequence[Record],
        findings: Findings,
        found: int,
        area_ranges: dict[str, tuple[float, float]] = COCO_AREA_RANGES,
        semantic_classes: tuple[str, ...] = (),
    ):
        """Args: findings: all problems; found: how many records there were before the unusable ones were left out.

        Raises:
            DataSetError: a problem makes the whole data set unusable, or nothing is left (EmptyDataError).
        """
        refuse(name, findings.problems)
        refuse_empty(name, split, found, len(records), findings.problems)
        self.name, self.split, self.classes = name, split, classes
        self.semantic_classes, self.area_ranges = semantic_classes, area_ranges
        self.problems = findings.problems
        self.records = tuple(records)
        self.ids = tuple(record.id for record in records)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """The example at `index`; see `Source.read`."""
        record = self.records[index]
        pixels = decode_image(self.original(index)[1], record.id) if image else None
        if pixels is not None and pixels.shape[:2] != record.size:
            found, expected = (f"{size[1]} x {size[0]}" for size in (pixels.shape, record.size))
            message = f"the image changed: it had {expected} pixels when the data set was opened"
            raise RecordError(Problem(record.id, "", "", found, message, "Start again.", "left out"))
        planes = self.planes(index, masks) if masks else (record.objects, None, None)
        return Example(record.id, record.size, pixels, record.label, *planes)

    def planes(self, index: int, masks: Masks) -> Planes:
        """What `read` returns as objects, semantic map and cells where masks are asked for; those with masks override it."""
        return self.records[index].objects, None, None

    def map_digest(self, index: int) -> str:
        """A digest (hex) of the file of the example's map, "" where it has none. Raises RecordError where it is gone."""
        path = self.records[index].map
        return hashlib.blake2b(read_bytes(path, path), digest_size=16).hexdigest() if path else ""

    def original(self, index: int) -> tuple[str, bytes]:
        """(file name, the encoded image as it is stored). Raises RecordError where the file is gone."""
        record = self.records[index]
        return record.id, read_bytes(record.path, record.id)


def objects_of(boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[bool]) -> Objects:
    """Objects whose area is that of their box. Args: boxes: x1 y1 x2 y2, pixels; labels, crowd: one each."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return Objects(corners, np.asarray(labels, np.int32), np.asarray(crowd, bool), area)


def measure(
    files: Sequence[tuple[str, str]],
    findings: Findings,
    size_of: Callable[[str, str], tuple[int, int]] = image_size,
) -> list[tuple[int, int] | None]:
    """Sizes of many images from their headers.

    Args:
        files: (path, name in messages) of each.
        findings: gets a problem for each that does not exist, is empty or is no image.
        size_of: (path, name) -> (height, width); raises RecordError where there is a problem.

    Returns:
        (height, width) of each, None where there was a problem.
    """

    def size(file: tuple[str, str]) -> tuple[int, int] | Problem:
        try:
            return size_of(*file)
        except RecordError as error:
            return error.problem

    sizes: list[tuple[int, int] | Problem] = []
    # Threads, because on a network file system each file is a round trip; on a local disk they cost nothing.
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for start in range(0, len(files), _CHUNK):
            sizes += pool.map(size, files[start : start + _CHUNK])
    findings.problems.extend(s for s in sizes if isinstance(s, Problem))
    return [None if isinstance(s, Problem) else s for s in sizes]


def maps_fit(files: Sequence[tuple[str, str]], sizes: Sequence[tuple[int, int] | None], findings: Findings) -> list[bool]:
    """Whether each map can be used, as far as its header tells: it can be read, and is as large as its image.

    Args:
        files: (path, name in messages) of each map.
        sizes: (height, width) of the image of each; None where that is not known, so that nothing is compared.
        findings: is told of those that cannot.
    """
    fit = []
    for (_, file), found, size in zip(files, measure(files, findings, map_size), sizes, strict=True):
        try:
            if found and size:
                check_map_size(found, size, file, "size")
        except RecordError as error:
            findings.problems.append(error.problem)
            found = None
        fit.append(found is not None)
    return fit


def data_folder(kind: str, folder: str) -> pathlib.Path:
    """The folder of a source string. Raises DataError, with the nearest name beside it, where it does not exist."""
    path = pathlib.Path(folder).expanduser()
    if not folder:
        raise DataError(f"{kind}: names no folder. Write {kind}:DIR.")
    if path.is_dir():
        return path
    if path.exists():
        raise DataError(f"{kind}:{folder}: is a file, not a folder.")
    parent = next(p for p in path.parents if p.is_dir() or p == p.parent)
    missing = path.relative_to(parent).parts[0] if parent != path else path.name
    beside = [p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    raise DataError(f"{kind}:{folder}: there is no folder {missing!r} in {parent}.{nearest(missing, beside)}")


@functools.lru_cache(maxsize=1024)
def class_cure(name: str, classes: tuple[str, ...]) -> str:
    """What to do about a class name that is not among `classes`; names the nearest one."""
    near = difflib.get_close_matches(name, classes, n=3)
    few = classes if len(classes) <= 40 else near or (*classes[:3], f"… {len(classes) - 3} more")
    return f"Correct the name, or leave the record out.{nearest(name, few)}"
