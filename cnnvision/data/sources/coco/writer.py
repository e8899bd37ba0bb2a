"""Writes a data set in COCO's layout, for other programs to read.

    DIR/annotations/instances_SPLIT.json
    DIR/SPLIT/*.jpg

Boxes are x y width height in continuous pixels from 0; categories count from 1, in the order of the source's classes.
`segmentation` is an uncompressed RLE of the mask, exact to the pixel, where masks are known, and an empty list elsewhere.
COCO's format holds neither classes of whole images nor semantic maps: these are not written.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import io
import itertools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import auto as tqdm

from cnnvision.data.decode import SUFFIXES, is_plain
from cnnvision.data.faults import RecordError
from cnnvision.errors import DataError
from cnnvision.types import Example, Problem, Source

_CHUNK = 256
"""Images that the threads work on at a time."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What became of a split. Attributes: split; images, objects: how many were written; left_out: why others were not."""

    split: str
    images: int
    objects: int
    left_out: tuple[Problem, ...]


def write_coco(
    sources: Sequence[Source], output: str | os.PathLike, suffix: str = "", progress: bool = True
) -> list[Written]:
    """Writes one data set, all of it or nothing: a folder beside `output` is filled, and renamed at the end.

    An image is copied byte by byte where any reader sees in it what we see; one that is turned by EXIF, CMYK, of 16 bits
    and the like is decoded and written as PNG. File names are kept; where two agree, their folders' names go before them.

    Args:
        sources: its splits, which share one class list.
        output: a folder that does not exist, or is empty.
        suffix: appended to the names of the splits: "2017" for programs that know COCO's own names only.
        progress: whether to show progress bars.

    Raises:
        DataError: the output is there already or cannot be written, or a source has no boxes.
    """
    output = pathlib.Path(output).expanduser()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} exists already. Name a new folder, or delete it first.")
    for source in sources:
        if source.read(0, image=False).objects is None:
            raise DataError(f"{source.name} has no boxes, and only objects are written in COCO's layout, no semantic maps.")
    with _renamed_at_end(output) as draft:
        return [_write_split(source, draft, source.split + suffix, progress) for source in sources]


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed RLE of a mask.

    Args:
        mask: bool [H, W].

    Returns:
        {"size": [H, W], "counts": lengths of runs down the columns, of zeros first}.
    """
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def unique_names(paths: Sequence[str]) -> list[str]:
    """A file name for each path: its last part where no other has it (upper and lower case count as one), else all of it.

    Args:
        paths: with `/`; none need exist.
    """
    lasts = [path.rsplit("/", 1)[-1] for path in paths]
    counts = collections.Counter(last.casefold() for last in lasts)
    taken = {last.casefold() for last in lasts if counts[last.casefold()] == 1}
    names = []
    for path, last in zip(paths, lasts, strict=True):
        name = last
        if counts[last.casefold()] > 1:
            joined = path.replace("/", "_")
            stem, ending = os.path.splitext(joined)
            numbered = itertools.chain([joined], (f"{stem}-{number}{ending}" for number in itertools.count(2)))
            name = next(n for n in numbered if n.casefold() not in taken)
            taken.add(name.casefold())
        names.append(name)
    return names


@contextlib.contextmanager
def _renamed_at_end(output: pathlib.Path) -> Iterator[pathlib.Path]:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise DataError(f"{output.parent} cannot be written: {error.strerror}.") from error
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp's own mode lets nobody else in
        draft.rename(output)  # replaces an empty folder, and fails where someone filled it meanwhile
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_split(source: Source, root: pathlib.Path, split: str, progress: bool) -> Written:
    folder = root / split
    folder.mkdir()
    (root / "annotations").mkdir(exist_ok=True)
    wanted, images, annotations, left_out = [], [], [], []
    bar = tqdm.tqdm(total=len(source), desc=f"{source.name} {source.split}", unit="image", disable=not progress)
    with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(source), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(source)))
            for found in pool.map(lambda index: _encoded(source, index), indices):
                bar.update()
                if isinstance(found, Problem):
                    left_out.append(found)
                    continue
                path, data, example, masks = found
                identity = len(images) + 1
                (folder / f"{identity}.draft").write_bytes(data)
                wanted.append(path.removeprefix(f"{source.split}/"))
                images.append({"id": identity, "file_name": "", "width": example.size[1], "height": example.size[0]})
                for annotation in _annotations(example, masks):
                    annotations.append({"id": len(annotations) + 1, "image_id": identity, **annotation})
    for image, name in zip(images, unique_names(wanted), strict=True):
        image["file_name"] = name
        (folder / f"{image['id']}.draft").rename(folder / name)
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(source.classes, 1)]
    about = {"description": f"{source.name.partition(':')[0]} {source.split}, written by cnnvision"}
    content = {"info": about, "licenses": [], "categories": categories, "images": images, "annotations": annotations}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return Written(split, len(images), len(annotations), tuple(left_out))


def _encoded(source: Source, index: int) -> tuple[str, bytes, Example, list[Any]] | Problem:
    """(path, bytes of the image file, annotation, segmentations), or why there is none."""
    try:
        example = source.read(index, image=True, masks=True)
        path, data = source.original(index) if hasattr(source, "original") else (source.ids[index], b"")
        path = path.replace("\\", "/")
        if data and is_plain(data, path):
            if not path.lower().endswith(SUFFIXES):
                path += ".png" if data.startswith(b"\x89PNG") else ".jpg"
        else:
            stream = io.BytesIO()
            Image.fromarray(example.image).save(stream, "PNG")
            path, data = os.path.splitext(path)[0] + ".png", stream.getvalue()
    except RecordError as error:
        return error.problem
    except DataError as error:
        return Problem(source.ids[index], "", "", "", str(error), "Mend it, or delete the record.", "left out")
    objects = example.objects
    masks = [[]] * len(objects.boxes) if objects.masks is None else [run_lengths(mask) for mask in objects.masks]
    return path, data, dataclasses.replace(example, image=None, objects=dataclasses.replace(objects, masks=None)), masks


def _annotations(example: Example, masks: Sequence[Any]) -> Iterator[dict[str, Any]]:
    objects = example.objects
    for box, label, crowd, area, mask in zip(objects.boxes, objects.labels, objects.crowd, objects.area, masks, strict=True):
        x1, y1, x2, y2 = box.astype(float).tolist()
        yield {
            "category_id": int(label) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(area),
            "iscrowd": int(crowd),
            "segmentation": mask,
        }
