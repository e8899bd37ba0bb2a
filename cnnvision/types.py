"""What travels between the parts: examples, batches, targets, predictions. The glossary and the conventions.

Letters in shapes
    b  examples in a batch      h, w  height and width of the network's input, pixels
    n  objects (padded)         k     classes, without background
    H, W  height and width of the original image, pixels

Conventions, the same everywhere
    boxes    float32 ``x1 y1 x2 y2``, continuous pixels: pixel i covers [i, i+1), so a box's width is x2 − x1. In a batch the
             pixels are those of the network's input, in an `Example` those of the original image.
    labels   int32 in [0, k). Background exists only in outputs of heads that have one, where it is 0 (`with_background`).
    maps     semantic maps hold class ids of their own class list; `IGNORE` (255) carries no loss and no metric.
    padding  always an explicit `valid`; the numbers beneath a False are zero but mean nothing. Images are padded at the
             right and at the bottom, so that coordinates do not shift.
    crowd    objects that are neither positive nor negative (COCO's iscrowd, VOC's difficult).
    images   NHWC, uint8 until they are on the device.

Structs are pytrees. Their fields may hold arrays, shapes or shardings while JAX maps over them, so nothing is checked on
construction: `validate` (data/batching.py) checks a batch where it enters.
"""

import dataclasses
from typing import Any, Literal, Protocol

import numpy as np
from flax import struct

IGNORE = 255
"""Semantic class id of pixels that carry neither loss nor metric; valid only after a source's class table was applied."""

Array = Any
"""A `jax.Array` or a `numpy.ndarray`."""

Masks = bool | Literal["semantic", "cells", "objects"]
"""What is read beside image and boxes: nothing (False); the semantic map; that and which object each pixel belongs to
("cells"); the objects' masks, a plane for each ("objects"); or these and the semantic map (True)."""


# Host side: one ragged example in original pixels ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of one image, in original pixels.

    Attributes:
        boxes: float32 [n, 4], x1 y1 x2 y2, original pixels; modal (what is visible). (0, 4) where there are none.
        labels: int32 [n], in [0, k).
        crowd: bool [n], True where the object is neither positive nor negative.
        area: float32 [n], square pixels: the mask's area where masks are known, else the box's.
        masks: bool [n, H, W] or None where the source has none (or they were not asked for).
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    masks: np.ndarray | None = None

    def largest(self) -> int | None:
        """Index of the largest box that is no crowd (the first, among equals); None where there is no such object."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        areas = np.where(self.crowd, -1.0, sides[:, 0] * sides[:, 1])
        return int(np.argmax(areas)) if len(areas) and areas.max() >= 0 else None


@dataclasses.dataclass(frozen=True)
class Example:
    """One image with everything that its source knows about it, in original pixels.

    Attributes:
        id: unique within the source and split; for files the path relative to the source's folder, with `/`.
        size: (height, width) of the original image after its EXIF orientation was applied, pixels.
        image: uint8 [H, W, 3] RGB, or None where only the annotation was asked for.
        label: class of the whole image, or None where the source does not tell.
        objects: the annotated objects, or None where the source has no boxes.
        semantic: uint8 [H, W] class ids (IGNORE = 255), or None where the source has no maps or they were not asked for.
        cells: int32 [H, W], 0 or which object a pixel belongs to (any numbers), or None where the source does not know or
            was not asked.
        proposals: float32 [p, 4] x1 y1 x2 y2, boxes where an object may be, the first the most worth looking at; None where
            nobody made any.
    """

    id: str
    size: tuple[int, int]
    image: np.ndarray | None = None
    label: int | None = None
    objects: Objects | None = None
    semantic: np.ndarray | None = None
    cells: np.ndarray | None = None
    proposals: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """One fault of a data set, in words that let its owner mend it.

    Attributes:
        file: the file at fault, relative to the data set's folder where it lies inside.
        record: what within the file: a row number, an object's index, an annotation id; "" for the file as a whole.
        field: which column, element or property; "" where the record as a whole is at fault.
        value: what stood there, as text ("" where nothing did).
        message: what is wrong with it.
        cure: what would be right.
        effect: what happens to it. "left out": the example is not used. "object left out": the rest of the example is
            used. "repaired": used after the stated repair. "kept": used as it is, but look at it. "refused": the whole
            data set is not usable until this is mended.
    """

    file: str
    record: str
    field: str
    value: str
    message: str
    cure: str
    effect: Literal["left out", "object left out", "repaired", "kept", "refused"]

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.file, self.record, self.field) if part)
        value = f" (found {self.value!r})" if self.value else ""
        return f"{where}: {self.message}{value}; {self.effect}. {self.cure}".rstrip()


class Source(Protocol):
    """A random-access sequence of examples, named by one string (data/sources/__init__.py lists the kinds).

    Attributes:
        name: the string that opened it, for example "voc:DIR".
        split: for example "train".
        classes: names of the object or image classes; a label is an index into it.
        semantic_classes: names of the classes of semantic maps (background included where there is one); () without maps.
        area_ranges: name -> (least, most) area in square pixels of the original image: "small", "medium", "large".
        problems: what was found wrong while the annotations were read; records that cannot be used are not among `ids`.
        ids: one id for each usable example, in a fixed order.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    semantic_classes: tuple[str, ...]
    area_ranges: dict[str, tuple[float, float]]
    problems: list[Problem]
    ids: tuple[str, ...]

    def __len__(self) -> int: ...

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """The example at `index` of `ids`: without its pixels where `image` is False, with what `masks` asks for (`Masks`).

        Safe to call from several threads, and from worker processes after pickling. Raises DataError, naming the file,
        where the image or the masks cannot be decoded.
        """
        ...


COCO_AREA_RANGES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's own area ranges, for sources that declare none."""


# Device side: fixed shapes -----------------------------------------------------------------------------------------------


@struct.dataclass
class ClassTarget:
    """Attributes: labels: int32 [b] in [0, k); valid: bool [b], False where the source gave no class."""

    labels: Array
    valid: Array


@struct.dataclass
class ObjectTarget:
    """The objects of each image, in input pixels.

    Attributes:
        boxes: float32 [b, n, 4], x1 y1 x2 y2, input pixels.
        labels: int32 [b, n], in [0, k).
        valid: bool [b, n], True where there is an object.
        crowd: bool [b, n], True where a valid object is neither positive nor negative.
        masks: bool [b, n, m, m], each cropped to its own box and resampled to a fixed side m; or None.
    """

    boxes: Array
    labels: Array
    valid: Array
    crowd: Array
    masks: Array | None = None


@struct.dataclass
class SemanticTarget:
    """Attributes: labels: uint8 [b, h, w] class ids, IGNORE = 255; weights: float32 [b, h, w] of the loss, or None."""

    labels: Array
    weights: Array | None = None


@struct.dataclass
class Regions:
    """Boxes to look at. Attributes: boxes: float32 [b, p, 4] x1 y1 x2 y2, input pixels; valid: bool [b, p]."""

    boxes: Array
    valid: Array


@struct.dataclass
class Batch:
    """What the pipeline hands to a task.

    Attributes:
        image: uint8 [b, h, w, 3] RGB.
        size: int32 [b, 2], (height, width) of the part of the input that is image; what lies right of it and below is
            padding.
        valid: bool [b], False where the example only fills up the batch (or could not be read).
        index: int32 [b], position of the example in its source's `ids`. A large image may fill several rows, tile by tile.
        transform: float32 [b, 2, 3], the affine map (x, y, 1) of original pixels -> (x, y) of input pixels.
        core: int32 [b, 4], x1 y1 x2 y2, whole pixels: the region whose predictions are kept: of
            an image all of it, of a tile all but its margin and what is beyond the image.
        target: ClassTarget, ObjectTarget or SemanticTarget; None where there is nothing to learn from (predict).
        proposals: where an object may be, in the order of the source; None where the task asks for none.
    """

    image: Array
    size: Array
    valid: Array
    index: Array
    transform: Array
    core: Array
    target: ClassTarget | ObjectTarget | SemanticTarget | None = None
    proposals: Regions | None = None


@struct.dataclass
class ClassPrediction:
    """Attributes: scores: float32 [b, k], probabilities that sum to one."""

    scores: Array


@struct.dataclass
class LocalizationPrediction:
    """One class and one box an image. Attributes: scores: float32 [b, k]; boxes: float32 [b, 4] x1 y1 x2 y2, input px."""

    scores: Array
    boxes: Array


@struct.dataclass
class DetectionPrediction:
    """The objects found in each image, the best first.

    Attributes:
        boxes: float32 [b, d, 4] x1 y1 x2 y2, input pixels.
        labels: int32 [b, d], in [0, k).
        scores: float32 [b, d].
        valid: bool [b, d], True where something was found.
    """

    boxes: Array
    labels: Array
    scores: Array
    valid: Array


Alignment = Literal["torchvision", "exact"]
"""Where the pixels of masks lie, in targets (ops/masks.py) and in pasting (evaluation/pasting.py)."""


@struct.dataclass
class InstancePrediction(DetectionPrediction):
    """The objects found in each image, each with its mask.

    Attributes: those of `DetectionPrediction`; masks: float32 [b, d, m, m], probabilities within the box; alignment: by
        which rule they are to be put into images.
    """

    masks: Array
    alignment: Alignment = struct.field(pytree_node=False, default="torchvision")


@struct.dataclass
class SegmentationPrediction:
    """A class for every pixel. Attributes: labels: uint8 [b, h, w] class ids, input pixels; IGNORE where the network has no
    logits (the rim that convolutions without padding lose)."""

    labels: Array
