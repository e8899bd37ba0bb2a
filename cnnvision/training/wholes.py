"""Whole images for the pictures of an evaluation, where the network sees them tile by tile.

A few, and no larger than a picture needs, however large the images and however many their tiles.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cnnvision.types import IGNORE, Batch, Example, SegmentationPrediction, SemanticTarget

MOST = 8
"""Images that are drawn."""
LONGEST = 512
"""Pixels of a drawn image's longer side; larger ones are shrunk."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """One image for a picture.

    Attributes:
        index: of the example in its source.
        size: (height, width) of the original.
        image: uint8 [h, w, 3] RGB.
        truth, labels: uint8 [h, w] class ids of the nearest pixels, true and predicted; IGNORE where there is none.
    """

    index: int
    size: tuple[int, int]
    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray


def shrunk(index: int, example: Example, labels: np.ndarray) -> Whole:
    """An example with its image, and its prediction uint8 [H, W], small enough to be drawn."""
    height, width = example.size
    factor = min(1.0, LONGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    resize = lambda array, kind: np.array(Image.fromarray(array).resize(size, kind))
    truth = np.full(example.size, IGNORE, np.uint8) if example.semantic is None else example.semantic
    nearest = Image.Resampling.NEAREST
    image = resize(example.image, Image.Resampling.BILINEAR)
    return Whole(index, example.size, image, resize(truth, nearest), resize(labels, nearest))


def as_batch(wholes: Sequence[Whole]) -> tuple[Batch, SegmentationPrediction]:
    """At least one whole image -> a batch with a row for each, padded to the largest, and its predictions."""
    sides = np.array([whole.image.shape[:2] for whole in wholes], np.int32)
    height, width = (int(side) for side in sides.max(axis=0))

    def padded(arrays: Sequence[np.ndarray], fill: int) -> np.ndarray:
        result = np.full((len(arrays), height, width, *arrays[0].shape[2:]), fill, np.uint8)
        for row, array in zip(result, arrays, strict=True):
            row[: array.shape[0], : array.shape[1]] = array
        return result

    scales = (sides / np.array([whole.size for whole in wholes]))[:, ::-1]
    batch = Batch(
        image=padded([whole.image for whole in wholes], 0),
        size=sides,
        valid=np.ones(len(wholes), bool),
        index=np.array([whole.index for whole in wholes], np.int32),
        transform=(scales[:, :, None] * np.eye(2, 3)[None]).astype(np.float32),
        core=np.concatenate([np.zeros_like(sides), sides[:, ::-1]], axis=1),
        target=SemanticTarget(padded([whole.truth for whole in wholes], IGNORE)),
    )
    return batch, SegmentationPrediction(padded([whole.labels for whole in wholes], IGNORE))
