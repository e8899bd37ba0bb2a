"""A part of a source: the examples that a task can learn from, or the first few."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cnnvision.data.faults import Findings
from cnnvision.data.wrappers import Wrapped
from cnnvision.errors import DataError
from cnnvision.inputs import InputSpec
from cnnvision.types import IGNORE, Example, Masks, Problem, Source


class Subset(Wrapped):
    """A `Source` of some examples of another; everything else is that of the other.

    Args:
        source: the whole.
        indices: which examples, in which order.
    """

    def __init__(self, source: Source, indices: Sequence[int]):
        super().__init__(source)
        self.indices = tuple(indices)
        self.ids = tuple(source.ids[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """As those of the whole source, where it has any (sources/coco)."""
        return tuple(self.source.image_ids[index] for index in self.indices)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """As the whole source's `read`, with an index into this part."""
        return self.source.read(self.indices[index], image, masks)

    def original(self, index: int) -> tuple[str, bytes]:
        """As that of the whole source, where it has one, with an index into this part."""
        return self.source.original(self.indices[index])

    def map_digest(self, index: int) -> str:
        """As that of the whole source, where it has one (sources/records.py), with an index into this part."""
        return self.source.map_digest(self.indices[index])


class Renamed(Wrapped):
    """A `Source` whose semantic maps have the class ids of another list; everything else is that of the source.

    Args:
        source: the source.
        names: the list, that of a network; classes of the source that are not in it become IGNORE.

    Attributes:
        problems: those of the source, and ahead of them what the two lists do not have in common.

    Raises:
        DataError: the two lists have fewer than two classes in common, so that there is nothing to distinguish (or, where
            `names` is one class alone, not that one).
    """

    def __init__(self, source: Source, names: Sequence[str]):
        super().__init__(source)
        self.semantic_classes = tuple(names)
        common = [name for name in names if name in source.semantic_classes]
        if len(common) < min(2, len(names)):
            raise DataError(
                f"{source.name} has maps of {_listed(source.semantic_classes) or 'no classes'}, and the network knows "
                f"{_listed(names)}: {f'only {common[0]!r} is' if common else 'not one of them is'} among both, and classes "
                "are matched by name. Give them the names that the network knows, where they mean the same."
            )
        self.problems = [*_differences(source, self.semantic_classes), *source.problems]
        self.table = np.full(256, IGNORE, np.uint8)
        for index, name in enumerate(source.semantic_classes):
            if name in self.semantic_classes:
                self.table[index] = self.semantic_classes.index(name)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """As the source's `read`, with mapped class ids."""
        example = self.source.read(index, image, masks)
        if example.semantic is None:
            return example
        return dataclasses.replace(example, semantic=self.table[example.semantic])


def with_semantic_classes(source: Source, names: Sequence[str]) -> Source:
    """The source with the class ids of `names` in its semantic maps: itself where they are its own, or where there are none.

    See `Renamed`, whose `problems` tell what the lists do not have in common. Raises DataError where that is too much.
    """
    if not names or tuple(source.semantic_classes) == tuple(names):
        return source
    return Renamed(source, names)


def _differences(source: Source, names: tuple[str, ...]) -> list[Problem]:
    """What the classes of a source and those of a network do not have in common."""
    findings, own = Findings(), source.semantic_classes
    unknown, absent = ([name for name in some if name not in others] for some, others in ((own, names), (names, own)))
    if unknown:
        message = (
            f"{len(unknown)} of {len(own)} classes are not among those of the network, and their pixels count in no metric"
        )
        cure = f"Rename them where they mean the same as one that it knows: {_listed(absent or names)}."
        findings.add(source.name, message, cure, "object left out", "", "semantic classes", _listed(unknown))
    if absent:
        message = f"{len(absent)} of the {len(names)} classes of the network are none of the data's"
        cure = "There is nothing to mend where they do not occur: the network may still predict them, which is wrong."
        findings.add(source.name, message, cure, "kept", "", "semantic classes", _listed(absent))
    return findings.problems


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")


WANTED = {"class": "class", "objects": "object"}
"""Target -> what an example must have to be learnt from."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Attributes: source: the usable part; left_out: how many examples are not in it; reason: why, for people."""

    source: Source
    left_out: int
    reason: str


def usable(source: Source, inputs: InputSpec, empty: str = "left out") -> Selection:
    """The examples that have what a task learns from: a class, or at least one object that is no crowd.

    Only where annotations are known without reading the images (`source.annotations_at_hand`); elsewhere everything is
    kept: an example without a class carries no loss, one without an object teaches a detector its background alone.

    Args:
        source: all examples.
        inputs: what the task learns from.
        empty: "background" keeps images without any object, crowd included, where objects are learnt.
    """
    if inputs.target not in WANTED or not getattr(source, "annotations_at_hand", False):
        return Selection(source, 0, "")
    keep, reason = learnable(source, inputs.target, empty)
    return Selection(Subset(source, keep) if reason else source, len(source) - len(keep), reason)


def learnable(source: Source, target: str, empty: str = "left out") -> tuple[list[int], str]:
    """The indices of examples that have a target; and how many have none and why, for people, "" where all have one.

    Args:
        source: whose annotations are at hand.
        target: "class" or "objects".
        empty: as of `usable`.
    """
    keep, crowded, background = [], 0, target == "objects" and empty == "background"
    for index in range(len(source)):
        example = source.read(index, image=False)
        largest = example.objects.largest() if example.objects is not None else None
        if largest is not None or (target == "class" and example.label is not None):
            keep.append(index)
        elif background and example.objects is not None and not len(example.objects.boxes):
            keep.append(index)
        else:
            crowded += example.objects is not None and len(example.objects.boxes) > 0
    if len(keep) == len(source):
        return keep, ""
    of_crowd = f", {crowded} of them crowd (or difficult) alone" if crowded else ""
    return keep, f"{len(source) - len(keep)} of {len(source)} images have no {WANTED[target]} to learn from{of_crowd}"
