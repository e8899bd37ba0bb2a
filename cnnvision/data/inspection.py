"""What one decoded example shows that no annotation tells, for the doctor: its objects' masks, its map, its pixels."""

import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Iterator

import numpy as np
from tqdm import auto as tqdm

from cnnvision.data.decode import deep_maximum
from cnnvision.data.faults import Findings, RecordError
from cnnvision.data.maps.class_ids import check_map_size
from cnnvision.errors import DataError
from cnnvision.ops.geometry import overlaps, tight_boxes
from cnnvision.types import IGNORE, Example, Problem, Source

_CHUNK = 1024
"""Images that the threads work on at a time."""
_FILL = 128
"""The grey that JPEG decoders fill in for data that are not there."""
_FILL_ROWS = 8
"""One row of JPEG's blocks."""
_LEAST_FIT = 0.7
"""IoU of a mask's own box with the object's, below which they are reported."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """One decoded example: its annotation without pixels, a digest of the pixels, class pixels, its problems, and of grey of
    16 bits the greatest value in the file."""

    index: int
    example: Example | None
    digest: bytes
    pixels: np.ndarray | None
    problems: tuple[Problem, ...]
    deepest: int | None = None


def look_at_all(source: Source, progress: bool) -> Iterator[Seen]:
    """Decodes every example, in threads (decoders release the interpreter lock), in order."""
    bar = tqdm.tqdm(total=len(source), desc=f"{source.name} {source.split}", unit="image", disable=not progress)
    with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(source), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(source)))
            for seen in pool.map(lambda index: _look(source, index), indices):
                bar.update()
                yield seen


def _look(source: Source, index: int) -> Seen:
    file, findings = source.ids[index], Findings()
    try:
        example = source.read(index, image=True, masks=True)
        if example.semantic is not None:
            check_map_size(example.semantic.shape, example.size, file, "semantic")
        if example.objects is not None and example.objects.masks is not None:
            check_map_size(example.objects.masks.shape[1:], example.size, file, "masks")
        _report_empty_maps(example, file, findings)
        _report_masks(example, file, findings)
        _report_copies(example, file, findings)
        findings.problems += getattr(source, "faults", lambda _: [])(index)
    except RecordError as error:
        return Seen(index, None, b"", None, (error.problem,))
    except DataError as error:
        findings.add(file, str(error), "", "left out")
        return Seen(index, None, b"", None, tuple(findings.problems))
    image = example.image
    rows = np.flatnonzero((image != _FILL).any(axis=(1, 2)))
    missing = len(image) - 1 - rows[-1] if len(rows) else 0
    if missing >= _FILL_ROWS:
        message = f"the last {missing} rows are the grey that decoders fill in where a JPEG broke off"
        findings.add(file, message, "Look at the picture, and copy or download it again.", "kept", field="image")
    digest = hashlib.blake2b(repr(image.shape).encode() + np.ascontiguousarray(image).data, digest_size=16).digest()
    pixels = None if example.semantic is None else np.bincount(example.semantic.ravel(), minlength=256)
    objects = example.objects and dataclasses.replace(example.objects, masks=None)
    annotation = dataclasses.replace(example, image=None, semantic=None, objects=objects)
    records = getattr(source, "records", ())
    deepest = deep_maximum(records[index].path) if records else None
    return Seen(index, annotation, digest, pixels, tuple(findings.problems), deepest)


def _report_empty_maps(example: Example, file: str, findings: Findings) -> None:
    if example.semantic is not None and (example.semantic == IGNORE).all():
        message = "the semantic map is ignored in every pixel, so that nothing is learnt from it"
        findings.add(file, message, "Draw it, or delete the image.", "kept", field="semantic")


def _report_masks(example: Example, file: str, findings: Findings) -> None:
    """Reports masks without a pixel, and masks that lie elsewhere than the object's box."""
    masks = None if example.objects is None else example.objects.masks
    if masks is None:
        return
    drawn = masks.any(axis=(1, 2))
    for number in np.flatnonzero(~drawn):
        message = "the object's mask covers no pixel"
        findings.add(file, message, "Draw it again, or delete the object.", "kept", f"object {number}", "masks")
    tight = tight_boxes(masks[drawn])
    for number, own, fit in zip(np.flatnonzero(drawn), tight, overlaps(tight, example.objects.boxes[drawn]), strict=True):
        if fit < _LEAST_FIT:
            message = f"the box does not fit the object's mask, which lies in {_spelled(own)} (IoU {fit:.2f})"
            cure = "Correct the one that is wrong; training on masks takes the mask."
            value = _spelled(example.objects.boxes[number])
            findings.add(file, message, cure, "kept", f"object {number}", "box", value)


def _spelled(box: np.ndarray) -> str:
    return " ".join(f"{side:g}" for side in box.tolist())


def _report_copies(example: Example, file: str, findings: Findings) -> None:
    """Reports objects whose class and box, and mask where there is one, are those of another one of the image."""
    if example.objects is None:
        return
    boxes, labels, crowd, masks = (getattr(example.objects, name) for name in ("boxes", "labels", "crowd", "masks"))
    first: dict[tuple[object, ...], int] = {}
    for number, box in enumerate(boxes.tolist()):
        drawn = b"" if masks is None else masks[number].tobytes()
        other = first.setdefault((*box, labels[number], crowd[number], drawn), number)
        if other != number:
            message = f"the object has class and box of object {other}: of the two, one counts as missed or as background"
            findings.add(file, message, "Delete one of them.", "kept", f"object {number}", "box", _spelled(np.array(box)))
