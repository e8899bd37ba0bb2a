"""Examines a data set before training does: decodes every image and every map, counts, and reports all faults at once.

Beyond what opening a source finds: images that cannot be decoded, maps of another size than their image or with values that
stand for no class, maps that are ignored everywhere, objects whose masks are empty or elsewhere than their boxes, faults of
records that are only read on demand (TFDS), the same picture twice, within a split or in two of them, and pictures whose
lower part is the grey that decoders fill in for missing data. It also notes what is no fault but may surprise, classes that
hardly occur for example.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import auto as tqdm

from cnnvision.data.faults import EFFECTS, DataSetError, Findings, RecordError
from cnnvision.data.maps.class_ids import check_map_size
from cnnvision.data.maps.notes import notes_of_maps
from cnnvision.data.sources import open_source, split_names
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
class SplitStatistics:
    """What a split holds.

    Attributes:
        examples: usable examples, all of which decode.
        labels: class -> images of that class.
        objects: class -> objects of that class (crowd included).
        crowd: objects that are crowd.
        without_objects: images that have none, in a source that has objects.
        pixels: semantic class -> pixels; "(ignore)" as well.
        heights, widths: (least, median, greatest), pixels.
        areas: name of the area range -> objects in it.
    """

    examples: int
    labels: dict[str, int]
    objects: dict[str, int]
    crowd: int
    without_objects: int
    pixels: dict[str, int]
    heights: tuple[int, int, int]
    widths: tuple[int, int, int]
    areas: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `examine` found.

    Attributes:
        name: the source string.
        problems: all of them, the gravest first.
        splits: name -> statistics, of the splits that could be opened.
        notes: what is remarkable but no fault.
    """

    name: str
    problems: tuple[Problem, ...]
    splits: dict[str, SplitStatistics]
    notes: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is left out and nothing refused."""
        return not any(problem.effect in ("refused", "left out", "object left out") for problem in self.problems)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One decoded example: its annotation without pixels, a digest of the pixels, class pixels, and its problems."""

    index: int
    example: Example | None
    digest: bytes
    pixels: np.ndarray | None
    problems: tuple[Problem, ...]


def examine(name: str, splits: Sequence[str] | None = None, progress: bool = True) -> Report:
    """Examines a data set.

    Args:
        name: a source string (cnnvision/data/sources/__init__.py).
        splits: which splits; all by default.
        progress: whether to show a progress bar.

    Raises:
        DataError: there is no such data set at all. Whatever is wrong *within* one is in the report.
    """
    findings, statistics, notes = Findings(), {}, []
    seen: dict[str, list[_Seen]] = {}
    for split in splits or split_names(name):
        try:
            source = open_source(name, split)
        except DataSetError as error:
            findings.problems += error.problems
            findings.add(name, str(error).split("\n")[0].rstrip(":"), "Mend what is listed.", "refused", f"split {split}")
            continue
        except DataError as error:
            findings.add(name, str(error).rstrip("."), "", "refused", f"split {split}")
            continue
        findings.problems += source.problems
        seen[split] = list(_look_at_all(source, progress))
        findings.problems += itertools.chain.from_iterable(s.problems for s in seen[split])
        statistics[split] = _statistics(source, seen[split])
        notes += _notes(source, statistics[split])
        maps = [(s.example.id, s.pixels) for s in seen[split] if s.pixels is not None]
        notes += notes_of_maps(source.split, source.semantic_classes, maps)
    if not seen and not findings.problems:
        findings.add(name, "there is no split", "Add one.", "refused")
    _report_twins(seen, findings)
    problems = sorted(dict.fromkeys(findings.problems), key=lambda problem: EFFECTS.index(problem.effect))
    return Report(name, tuple(problems), statistics, tuple(notes))


def _look_at_all(source: Source, progress: bool) -> Iterator[_Seen]:
    """Decodes every example, in threads (decoders release the interpreter lock), in order."""
    bar = tqdm.tqdm(total=len(source), desc=f"{source.name} {source.split}", unit="image", disable=not progress)
    with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(source), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(source)))
            for seen in pool.map(lambda index: _look(source, index), indices):
                bar.update()
                yield seen


def _look(source: Source, index: int) -> _Seen:
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
        return _Seen(index, None, b"", None, (error.problem,))
    except DataError as error:
        findings.add(file, str(error), "", "left out")
        return _Seen(index, None, b"", None, tuple(findings.problems))
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
    return _Seen(index, annotation, digest, pixels, tuple(findings.problems))


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


def _statistics(source: Source, seen: Sequence[_Seen]) -> SplitStatistics:
    examples = [s.example for s in seen if s.example is not None]
    objects = [example.objects for example in examples if example.objects is not None]
    labels = collections.Counter(source.classes[e.label] for e in examples if e.label is not None)
    names = collections.Counter(source.classes[label] for o in objects for label in o.labels)
    areas = np.concatenate([o.area for o in objects] or [np.zeros(0)])
    sizes = np.array([example.size for example in examples] or [(0, 0)])
    spans = [(int(column.min()), int(np.median(column)), int(column.max())) for column in sizes.T]
    counts = sum((s.pixels for s in seen if s.pixels is not None), np.zeros(256, np.int64))
    pixels = {name: int(counts[i]) for i, name in enumerate(source.semantic_classes)}
    return SplitStatistics(
        examples=len(examples),
        labels={name: labels[name] for name in source.classes} if labels else {},
        objects={name: names[name] for name in source.classes} if objects else {},
        crowd=int(sum(o.crowd.sum() for o in objects)),
        without_objects=sum(not len(o.boxes) for o in objects),
        pixels={**pixels, "(ignore)": int(counts[IGNORE])} if pixels else {},
        heights=spans[0],
        widths=spans[1],
        areas={
            name: int(((areas >= low) & (areas < high)).sum()) for name, (low, high) in source.area_ranges.items() if objects
        },
    )


def _notes(source: Source, statistics: SplitStatistics) -> list[str]:
    notes = []
    counts = statistics.objects or statistics.labels
    missing = [name for name, count in counts.items() if not count]
    if missing:
        notes.append(f"{source.split}: no example of {', '.join(missing[:20])}{' …' if len(missing) > 20 else ''}.")
    if statistics.without_objects:
        notes.append(f"{source.split}: images without a usable object: {statistics.without_objects}.")
    return notes


def _report_twins(seen: dict[str, list[_Seen]], findings: Findings) -> None:
    """Reports pictures that agree in every pixel."""
    first: dict[bytes, list[tuple[str, Example]]] = {}
    for split, of_split in seen.items():
        for example, digest in ((s.example, s.digest) for s in of_split if s.example is not None):
            twins = first.setdefault(digest, [])
            twin = next((t for t in twins if t[0] == split), None) or next(
                (t for t in twins if not _is_union(t[0], split)), None
            )
            if twin:
                _report_twin(split, example, *twin, findings)
            if not any(t[0] == split for t in twins):
                twins.append((split, example))


def _is_union(one: str, other: str) -> bool:
    """Whether one split is made of the other and a third by its name, as trainval is of train and val."""
    part, whole = sorted((one, other), key=len)
    return part in whole and whole.replace(part, "", 1) in ("train", "val", "test")


def _report_twin(split: str, example: Example, other_split: str, other: Example, findings: Findings) -> None:
    differs = " with another class" if example.label != other.label else ""
    if split == other_split:
        message = f"the picture is the same as {other.id}{differs}, in every pixel"
        cure = "Delete one of them."
    else:
        message = f"the picture is also in {other_split}, as {other.id}{differs}, the same in every pixel"
        cure = "Delete it from one of the splits: metrics on what was trained on say nothing."
    findings.add(example.id, message, cure, "kept", f"split {split}")
