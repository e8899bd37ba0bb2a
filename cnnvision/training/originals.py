"""From predictions on the network's inputs back to whole images in their original pixels."""

from typing import Any

import jax
import numpy as np

from cnnvision.ops.geometry import paste_original, to_original
from cnnvision.types import IGNORE, Example, Masks, SegmentationPrediction, Source

Found = tuple[list[Example], Any]
"""Examples, and their predictions in original pixels, row by row."""


class Originals:
    """Collects rows of predictions in the order of the source's ids, and gives back whole examples.

    A row is a whole example, but for class maps, of which a large image fills several rows, tile by tile: they come back
    when the last has come.

    Args:
        source: with the examples' annotations.
        masks: what examples come with (`Source.read`).
    """

    def __init__(self, source: Source, masks: Masks):
        self.source, self.masks = source, masks
        self.index, self.canvas = None, np.zeros((0, 0), np.uint8)

    def add(self, predictions: Any, index: np.ndarray, valid: np.ndarray, transform: np.ndarray, core: np.ndarray) -> Found:
        """The examples that are complete after a batch.

        Args:
            predictions: NumPy arrays, input pixels, one row for each of the batch.
            index, valid, transform, core: as in `Batch`.
        """
        rows = np.flatnonzero(valid)
        if isinstance(predictions, SegmentationPrediction):
            done = []
            for row in rows:
                done += self._paste(int(index[row]), predictions.labels[row], transform[row], core[row])
            return self._together(done)
        examples = [self.source.read(int(i), image=False, masks=self.masks) for i in index[rows]]
        predictions = jax.tree.map(lambda x: x[rows], predictions)
        if hasattr(predictions, "boxes") and len(rows):
            triples = zip(predictions.boxes, transform[rows], examples, strict=True)
            boxes = np.stack([to_original(boxes, back, example.size) for boxes, back, example in triples])
            predictions = predictions.replace(boxes=boxes)
        return examples, predictions

    def rest(self) -> Found:
        """The last example, after all batches."""
        return self._together(self._finish())

    def _paste(
        self, index: int, labels: np.ndarray, transform: np.ndarray, core: np.ndarray
    ) -> list[tuple[Example, np.ndarray]]:
        done = []
        if index != self.index:
            done = self._finish()
            self.index = index
            self.canvas = np.full(self.source.read(index, image=False).size, IGNORE, np.uint8)
        paste_original(self.canvas, labels, transform, tuple(int(side) for side in core))
        return done

    def _finish(self) -> list[tuple[Example, np.ndarray]]:
        if self.index is None:
            return []
        found = [(self.source.read(self.index, image=False, masks=self.masks), self.canvas)]
        self.index = None
        return found

    @staticmethod
    def _together(done: list[tuple[Example, np.ndarray]]) -> Found:
        maps = np.empty(len(done), object)  # of a different size each
        for i, (_, canvas) in enumerate(done):
            maps[i] = canvas
        return [example for example, _ in done], SegmentationPrediction(maps)
