"""Examines a data set before training does: decodes every image and every map, counts, and reports all faults at once.

Beyond what opening a source finds: images that cannot be decoded, maps of another size than their image or with values that
stand for no class, maps that are ignored everywhere, objects whose masks are empty or elsewhere than their boxes, faults of
records that are only read on demand (TFDS), the same picture twice, within a split or in two of them, and pictures whose
lower part is the grey that decoders fill in for missing data. It also notes what is no fault but may surprise, classes that
hardly occur for example.
"""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from cnnvision.data.faults import EFFECTS, DataSetError, Findings
from cnnvision.data.inspection import Seen, look_at_all
from cnnvision.data.maps.notes import notes_of_maps
from cnnvision.data.opening import open_as_judged
from cnnvision.data.sources import open_source, split_names
from cnnvision.data.sources.splits import resolve_split, stands_for
from cnnvision.data.twins import report_twins
from cnnvision.data.wrappers.subset import WANTED, learnable
from cnnvision.errors import DataError
from cnnvision.types import IGNORE, Problem, Source

MOST_LOST = 64
"""Grey levels of 256 up to which it is said that images of 16 bits lose the others."""


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


def examine(name: str, splits: Sequence[str] | None = None, progress: bool = True) -> Report:
    """Examines a data set, opened as training opens it: other splits with the classes of the one that is trained on.

    Args:
        name: a source string (cnnvision/data/sources/__init__.py).
        splits: which splits; all by default.
        progress: whether to show a progress bar.

    Raises:
        DataError: there is no such data set at all. Whatever is wrong *within* one is in the report.
    """
    findings, statistics, notes = Findings(), {}, []
    seen: dict[str, list[Seen]] = {}
    known = tuple(splits or split_names(name))
    training, train = stands_for("train", known), None
    if training is None and splits:
        training = stands_for("train", split_names(name))
    for split in ([training] if training is not None else []) + [split for split in known if split != training]:
        of_split = Findings()
        source = _open(name, split, train, of_split)
        if split == training:
            train = source
        if split not in known:
            continue
        findings.problems += of_split.problems
        if source is None:
            continue
        if split == training:
            notes += _unlearnable(source, findings)
        seen[split] = list(look_at_all(source, progress))
        findings.problems += itertools.chain.from_iterable(s.problems for s in seen[split])
        _report_depth(source, seen[split], findings)
        statistics[split] = _statistics(source, seen[split])
        notes += _notes(source, statistics[split])
        maps = [(s.example.id, s.pixels) for s in seen[split] if s.pixels is not None]
        notes += notes_of_maps(source.split, source.semantic_classes, maps)
    if not splits:
        _report_missing(name, known, findings)
    report_twins(seen, findings)
    problems = sorted(dict.fromkeys(findings.problems), key=lambda problem: EFFECTS.index(problem.effect))
    return Report(name, tuple(problems), statistics, tuple(notes))


def _open(name: str, split: str, train: Source | None, findings: Findings) -> Source | None:
    """A split as training opens it, and what is wrong with it; None where it is refused."""
    try:
        source, apart = (open_source(name, split), "") if train is None else open_as_judged(name, split, train)
    except DataSetError as error:
        findings.problems += error.problems
        findings.add(name, str(error).split("\n")[0].rstrip(":"), "Mend what is listed.", "refused", f"split {split}")
        return None
    except DataError as error:
        findings.add(name, str(error).rstrip("."), "", "refused", f"split {split}")
        return None
    if apart:
        findings.add(
            name, f"no segmentation can be judged here: {apart}", "Or learn objects alone.", "kept", f"split {split}"
        )
    findings.problems += source.problems
    return source


def _report_missing(name: str, known: Sequence[str], findings: Findings) -> None:
    """Refuses a data set that has nothing to train on, or nothing to evaluate on, in the words of training."""
    for split in ("train", "val"):
        try:
            resolve_split(name, split, known, Findings())
        except DataError as error:
            findings.add(name, str(error).rstrip("."), "Or examine one split: --split=NAME.", "refused", f"split {split}")


def _unlearnable(source: Source, findings: Findings) -> list[str]:
    """Says what training leaves out for want of a target; refuses what has nothing to learn at all."""
    if not getattr(source, "annotations_at_hand", False) or not source.classes:
        return []
    target = "objects" if any(record.objects is not None for record in source.records) else "class"
    keep, reason = learnable(source, target)
    if not keep and not source.semantic_classes and not learnable(source, "class")[0]:
        cure = "Draw objects, or look why none can be used; crowd teaches nothing."
        message = f"{reason}, so nothing is left to train on"
        findings.add(source.name, message, cure, "refused", f"split {source.split}")
        return []
    return [f"{source.split}: {reason}; training on {WANTED[target]}s leaves them out."] if reason else []


def _report_depth(source: Source, seen: Sequence[Seen], findings: Findings) -> None:
    """Reports images of 16 bits whose values fill so little of them that few levels are left in 8 bits."""
    deepest = [s.deepest for s in seen if s.deepest is not None]
    levels = (max(deepest, default=0) >> 8) + 1
    if deepest and levels <= MOST_LOST:
        first = next(s.example.id for s in seen if s.deepest is not None)
        message = (
            f"{len(deepest)} images of 16 bits use 0 ... {max(deepest)} of 0 ... 65535; in 8 bits {levels} levels are left"
        )
        factor = 65535 // max(max(deepest), 1)
        cure = f"Multiply their values by {factor}, all by the same, and save them again."
        findings.add(first, message, cure, "kept", f"split {source.split}", "image")


def _statistics(source: Source, seen: Sequence[Seen]) -> SplitStatistics:
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
