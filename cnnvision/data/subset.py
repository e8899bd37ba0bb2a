"""A part of a source: the examples that a task can learn from, or the first few."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnvision.errors import DataError
from cnnvision.task import InputSpec
from cnnvision.types import IGNORE, Example, Source


class Subset:
    """A `Source` of some examples of another; everything else is that of the other.

    Args:
        source: the whole.
        indices: which examples, in which order.
    """

    def __init__(self, source: Source, indices: Sequence[int]):
        self.source, self.indices = source, tuple(indices)
        self.ids = tuple(source.ids[index] for index in self.indices)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, image: bool = True, masks: bool = False) -> Example:
        """As the whole source's `read`, with an index into this part."""
        return self.source.read(self.indices[index], image, masks)


class Renamed:
    """A `Source` whose semantic maps have the class ids of another list; everything else is that of the source.

    Args:
        source: the source.
        names: the list; classes of the source that are not in it become IGNORE.

    Raises:
        DataError: not one class of the source is in the list.
    """

    def __init__(self, source: Source, names: Sequence[str]):
        self.source, self.semantic_classes = source, tuple(names)
        if not set(source.semantic_classes) & set(names):
            raise DataError(
                f"{source.name} has maps of {', '.join(source.semantic_classes) or 'no classes'}; not one of them is among "
                f"those that the network knows: {', '.join(names)}"
            )
        self.table = np.full(256, IGNORE, np.uint8)
        for index, name in enumerate(source.semantic_classes):
            if name in self.semantic_classes:
                self.table[index] = self.semantic_classes.index(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, image: bool = True, masks: bool = False) -> Example:
        """As the source's `read`, with mapped class ids."""
        example = self.source.read(index, image, masks)
        if example.semantic is None:
            return example
        return dataclasses.replace(example, semantic=self.table[example.semantic])


def with_semantic_classes(source: Source, names: Sequence[str]) -> Source:
    """The source with the class ids of `names` in its semantic maps: itself where they are its own, or where it has none."""
    if not names or tuple(source.semantic_classes) == tuple(names):
        return source
    return Renamed(source, names)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Attributes: source: the usable part; left_out: how many examples are not in it; reason: why, for people."""

    source: Source
    left_out: int
    reason: str


def usable(source: Source, inputs: InputSpec) -> Selection:
    """The examples that have what a task learns from: a class, or at least one object that is no crowd.

    Only where annotations are known without reading the images (`source.annotations_at_hand`); elsewhere everything is
    kept, and an example without a target carries no loss.
    """
    wants = {"class": "class", "objects": "object"}
    if inputs.target not in wants or not getattr(source, "annotations_at_hand", False):
        return Selection(source, 0, "")

    def has_target(example: Example) -> bool:
        largest = example.objects.largest() if example.objects is not None else None
        return largest is not None or (inputs.target == "class" and example.label is not None)

    keep = [index for index in range(len(source)) if has_target(source.read(index, image=False))]
    left_out = len(source) - len(keep)
    reason = f"{left_out} of {len(source)} images have no {wants[inputs.target]} to learn from" if left_out else ""
    return Selection(Subset(source, keep) if left_out else source, left_out, reason)
