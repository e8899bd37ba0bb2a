"""COCO's three codings of a mask: polygons, run lengths, and run lengths written as text.

Run lengths count down the columns, first zeros, then ones, and so on. Polygons become masks exactly as pycocotools makes
them: corners are rounded to fifths of a pixel, edges are walked in such steps, and where the walk passes the centre of a
column, the column changes between outside and inside. The parts of one object are united.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnvision.ops.run_lengths import mask_of_runs, runs_of_text

STEPS = 5
"""Steps of the walk along a polygon's edges, a pixel."""


@dataclasses.dataclass(frozen=True)
class Segmentations:
    """The segmentations of many objects in a few arrays: cheap to keep, and to send to another process.

    Attributes:
        numbers: float64 [N], coordinates x y x y ... of polygons and run lengths, one part after the other.
        part_starts: int64 [P + 1], where in `numbers` each part starts, and the last one ends.
        object_starts: int64 [n + 1], where among the parts each object starts, and the last one ends.
        runs: bool [n], True where an object's one part is run lengths, False where its parts are polygons.
    """

    numbers: np.ndarray
    part_starts: np.ndarray
    object_starts: np.ndarray
    runs: np.ndarray

    @classmethod
    def pack(cls, objects: Sequence[tuple[Sequence[np.ndarray], bool]]) -> "Segmentations":
        """Packs (parts, whether they are run lengths) of each object."""
        parts = [part for of_object, _ in objects for part in of_object]
        return cls(
            np.concatenate([np.zeros(0), *parts]),
            np.cumsum([0, *map(len, parts)]),
            np.cumsum([0, *(len(of_object) for of_object, _ in objects)]),
            np.array([runs for _, runs in objects], bool),
        )

    def parts(self, index: int) -> list[np.ndarray]:
        """The parts of one object; none where nothing is known of its mask."""
        first, last = self.object_starts[index : index + 2]
        starts = self.part_starts[first : last + 1].tolist()
        return [self.numbers[start:end] for start, end in itertools.pairwise(starts)]

    def mask(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """bool [H, W], the mask of one object; None where nothing is known of it. Args: size: (H, W) of the image."""
        parts = self.parts(index)
        if not parts:
            return None
        counts = parts if self.runs[index] else [polygon_runs(part, size) for part in parts]
        mask = mask_of_runs(counts[0], size)
        for others in counts[1:]:
            mask = mask | mask_of_runs(others, size)
        return mask


def parts_of(segmentation: Any, size: tuple[int, int]) -> tuple[list[np.ndarray], bool, str]:
    """The parts of a segmentation as it stands in a JSON, its lists of numbers packed into arrays (coco/json_file.py).

    Polygons are not looked at. Forms that tools write instead of COCO's, and that have one meaning alone, are read, too: one
    polygon without its list, corners in pairs, run lengths in a list.

    Args:
        segmentation: None and [] for none.
        size: (H, W) of the image.

    Returns:
        The parts; whether they are run lengths; "" or which other form it has.

    Raises:
        ValueError: it has none of these forms.
    """
    if segmentation is None or (isinstance(segmentation, list) and not segmentation):
        return [], False, ""
    if isinstance(segmentation, dict):
        return [_runs(segmentation, size)], True, ""
    if not isinstance(segmentation, list):
        raise ValueError('it should be a list of polygons, or {"size": [height, width], "counts": ...}')
    kinds = set(map(type, segmentation))
    if kinds == {np.ndarray}:
        if len(segmentation) >= 3 and all(len(part) == 2 for part in segmentation):
            return [np.concatenate(segmentation)], False, "is one polygon of corners in pairs"
        return segmentation, False, ""
    if kinds <= {int, float}:
        return [np.array(segmentation, np.float64)], False, "is one polygon without its list"
    if kinds == {dict}:
        return [_runs(part, size) for part in segmentation], True, "has run lengths in a list"
    pairs = [_flat(part) for part in segmentation]
    if all(part is not None for part in pairs):
        return pairs, False, "has polygons of corners in pairs"
    raise ValueError("it should be a list of polygons [x1, y1, x2, y2, ...]")


def _flat(part: Any) -> np.ndarray | None:
    """[[x, y], ...] -> float64 [2 k], x y x y ...; None for anything else."""
    if not isinstance(part, list) or not all(isinstance(c, list) and len(c) == 2 for c in part):
        return None
    flat = [number for corner in part for number in corner]
    return np.array(flat, np.float64) if {int, float}.issuperset(map(type, flat)) else None


def _runs(segmentation: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The run lengths of a mask, int or float [m]. Raises ValueError where they are not those of such an image."""
    if "counts" not in segmentation:
        raise ValueError('it should be a list of polygons, or {"size": [height, width], "counts": ...}')
    if segmentation.get("size") != list(size):
        declared = str(segmentation.get("size"))[:60]
        raise ValueError(f"its size is {declared}, that of the image [{size[0]}, {size[1]}]")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        try:
            counts = runs_of_text(counts)
        except ValueError as error:
            raise ValueError(f"its counts are no compressed run lengths: {error}") from error
    if not isinstance(counts, np.ndarray) or not (np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts))).all():
        raise ValueError("its counts should be whole numbers that are not negative")
    if counts.sum() != size[0] * size[1]:
        raise ValueError(f"its counts add up to {counts.sum():.0f}, the image has {size[0] * size[1]} pixels")
    return counts


def polygon_runs(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The run lengths of a polygon.

    Args:
        polygon: float64 [2 k], x y x y ..., continuous pixels; k >= 3. It may leave the image, but not by far: the walk
            takes `STEPS` steps a pixel.
        size: (H, W) of the image.

    Returns:
        int64 [m], of zeros first; runs may be empty.
    """
    height, width = size
    x, y = _walk(polygon.reshape(-1, 2))
    turns = np.flatnonzero(x[1:] != x[:-1])
    left, top = np.minimum(x[turns], x[turns + 1]), np.minimum(y[turns], y[turns + 1])
    column = (left + 0.5) / STEPS - 0.5
    within = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip((top[within] + 0.5) / STEPS - 0.5, 0, height))
    changes = np.sort(column[within] * height + row).astype(np.int64)
    return np.diff(changes, prepend=0, append=height * width)


def _walk(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of a walk along a polygon's edges: x, y, int64, in steps of 1 / `STEPS` pixels.

    Each edge goes one step a point along its longer side. Numbers are cut, not rounded down, as a C cast does it.
    """
    corners = (STEPS * corners + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    reach = np.abs(end - start)
    flat = reach[:, 0] >= reach[:, 1]
    longer = np.where(flat, reach[:, 0], reach[:, 1])
    backwards = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low, high = (np.where(backwards[:, None], *pair) for pair in ((end, start), (start, end)))
    shorter = np.where(flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0])
    slope = shorter / np.maximum(longer, 1)
    edge = np.repeat(np.arange(len(corners)), longer + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(longer + 1) - (longer + 1), longer + 1)
    step = np.where(backwards[edge], longer[edge] - step, step)
    along = step + np.where(flat, low[:, 0], low[:, 1])[edge]
    across = (np.where(flat, low[:, 1], low[:, 0])[edge] + slope[edge] * step + 0.5).astype(np.int64)
    return np.where(flat[edge], along, across), np.where(flat[edge], across, along)
