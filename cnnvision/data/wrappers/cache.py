"""A source that remembers decoded images: small sets are read hundreds of times, and decoding costs most of a row."""

import dataclasses
import threading
from typing import Any

import numpy as np

from cnnvision.data.wrappers import Wrapped
from cnnvision.errors import DataError
from cnnvision.types import Example, Masks, Source


class CachedSource(Wrapped):
    """A source with its first examples to be read kept in memory, decoded, until the room is full.

    Nothing is ever evicted: every epoch reads each example once in a new order, and there a full cache that stays as it is
    serves as many reads as its share of the data, while the least recently used would serve fewer. What it hands out is
    shared, so its arrays are read-only. Safe to call from several threads. A pickled copy (in a worker process) starts
    empty and fills its own. Everything but `read` is that of the source.

    Args:
        source: what to read.
        megabytes: room for arrays, in units of 2^20 bytes.
    """

    def __init__(self, source: Source, megabytes: int):
        super().__init__(source)
        self.megabytes = megabytes
        self._clear()

    def _clear(self) -> None:
        self._examples: dict[tuple[int, Masks], Example] = {}
        self._bytes_left = self.megabytes * 2**20
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.megabytes)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """As `Source.read`; only examples with their image are kept."""
        if not image:
            return self.source.read(index, image=image, masks=masks)
        found = self._examples.get((index, masks))
        if found is not None:
            return found
        example = self.source.read(index, image=image, masks=masks)
        arrays = _arrays(example)
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if (index, masks) in self._examples or size > self._bytes_left:
                return example
            self._bytes_left -= size
            for array in arrays:
                array.flags.writeable = False
            self._examples[index, masks] = example
        return example


class LastRead(Wrapped):
    """A source that remembers the example it read last, or why it could not: an image's tiles are asked for one by one.

    As `CachedSource` in all else; for images that no cache has room for.
    """

    def __init__(self, source: Source):
        super().__init__(source)
        self._last: tuple[tuple[int, Masks], Example | DataError] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source,)

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """As `Source.read`; only an example with its image is kept."""
        last = self._last  # once: another thread may put another in its place
        if not image:
            return self.source.read(index, image=image, masks=masks)
        if last is not None and last[0] == (index, masks):
            found = last[1]
        else:
            try:
                found = self.source.read(index, image=image, masks=masks)
            except DataError as error:
                found = error
            self._last = (index, masks), found
        if isinstance(found, DataError):
            raise found
        return found


def cached(source: Source, megabytes: int) -> Source:
    """The source with a cache of that many megabytes, unless it has one already or there is no room to keep anything in.

    The pipeline calls this for one run of batches. To keep the cache from one evaluation to the next, call it once and
    hand the result to each.
    """
    return CachedSource(source, megabytes) if megabytes > 0 and not isinstance(source, CachedSource) else source


def _arrays(example: Example) -> list[np.ndarray]:
    fields = [getattr(example, field.name) for field in dataclasses.fields(example)]
    if example.objects is not None:
        fields += [getattr(example.objects, field.name) for field in dataclasses.fields(example.objects)]
    return [value for value in fields if isinstance(value, np.ndarray)]
