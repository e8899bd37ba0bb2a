"""Whole images for the pictures of an evaluation, where the network sees them tile by tile.

A few, and no larger than a picture needs, however large the images and however many their tiles.
"""

from collections.abc import Sequence

import numpy as np

from cnnvision.data.augment import Augmentation, Row, apply
from cnnvision.data.batching import make_batch
from cnnvision.inputs import InputSpec
from cnnvision.types import IGNORE, Batch, Example, SegmentationPrediction, Source

MOST = 8
"""Images that are drawn."""
LONGEST = 512
"""Pixels of a drawn image's longer side; larger ones are shrunk."""


class Wholes:
    """Collects some of a split's images, with what is predicted for them, as they pass by.

    Args:
        source: the split, with semantic maps.
        count: how many of its images, spread evenly; at most `MOST`.
    """

    def __init__(self, source: Source, count: int):
        chosen = np.linspace(0, len(source) - 1, min(count, len(source), MOST)).astype(int)
        self.source, self._wanted = source, {source.ids[i]: int(i) for i in chosen}
        self._rows: list[tuple[Row, Row]] = []

    def add(self, examples: Sequence[Example], predictions: SegmentationPrediction) -> None:
        """Takes what is wanted among examples without images and their predictions, in original pixels."""
        for example, labels in zip(examples, predictions.labels, strict=True):
            if (index := self._wanted.get(example.id)) is not None:
                self._rows.append(_shrunk(self.source.read(index), index, example.semantic, labels))

    def batches(self) -> list[tuple[Batch, SegmentationPrediction]]:
        """What was taken: one batch with a row for each image, padded to the largest; none where there is nothing."""
        if not self._rows:
            return []
        truth, found = zip(*self._rows, strict=True)
        size = tuple(max(row.image.shape[axis] for row in truth) for axis in (0, 1))
        spec = InputSpec(sizes=(size,), target="semantic")
        labels = make_batch(found, spec, size)[0].target.labels
        return [(make_batch(truth, spec, size)[0], SegmentationPrediction(labels))]


def _shrunk(example: Example, index: int, semantic: np.ndarray | None, labels: np.ndarray) -> tuple[Row, Row]:
    """An image small enough to be drawn, with its map and with its prediction, both uint8 [H, W]."""
    height, width = example.size
    factor = min(1.0, LONGEST / max(height, width))
    h, w = (max(1, round(side * factor)) for side in example.size)
    fit = Augmentation(source=(0, 0, width, height), target=(0, 0, w, h), size=(h, w))
    unknown = np.full(example.size, IGNORE, np.uint8)
    row = lambda maps: apply(fit, Example(example.id, example.size, example.image, semantic=maps), index)
    return row(unknown if semantic is None else semantic), row(labels)
