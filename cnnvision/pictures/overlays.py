"""Class maps and masks as tints over images."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from cnnvision.evaluation.pasting import part_of_runs, pasted_runs
from cnnvision.ops.geometry import touched
from cnnvision.pictures import drawing
from cnnvision.types import IGNORE, InstancePrediction, ObjectTarget, SemanticTarget

OPACITY = 0.6
ROWS = 64
"""Rows of a picture that are tinted at a time: it bounds the memory, whatever the picture's size."""
SIDE, GAP, TEXT = 160, 6, 14
"""Pixels of a comparison: of each picture, between two, height of letters."""


def background_of(classes: Sequence[str]) -> int:
    """The class of a map that is not tinted: the one called "background"; IGNORE where none is."""
    return next((k for k, name in enumerate(classes) if name.casefold() == "background"), IGNORE)


def class_of_map(label: int, classes: Sequence[str]) -> tuple[str, drawing.Colour | None]:
    """The name of a class of a map, and its colour; None for the background, which has none."""
    return classes[label], None if label == background_of(classes) else drawing.colour(label)


def tinted_map(pixels: np.ndarray, labels: np.ndarray, scale: int = 1, background: int = IGNORE) -> np.ndarray:
    """An image with the colours of a class map laid over it; grey beneath them.

    Args:
        pixels: uint8 [h, w, 3] RGB, at least `scale` times as large as the map; the rest of it stays as it is.
        labels: uint8 [h, w] class ids; IGNORE leaves the image as it is.
        scale: whole factor by which the image is enlarged.
        background: a class that leaves the image as it is, too.
    """
    pixels, shown = pixels.copy(), drawing.enlarge(np.ascontiguousarray(labels), scale, smooth=False)
    colours = _colours()
    for top in range(0, len(shown), ROWS):
        part = shown[top : top + ROWS]
        rows = pixels[top : top + len(part), : part.shape[1]]
        grey = np.array(Image.fromarray(np.ascontiguousarray(rows)).convert("L"))[..., None]
        np.copyto(
            rows, drawing.blend(grey, colours[part], OPACITY), where=((part != IGNORE) & (part != background))[..., None]
        )
    return pixels


@functools.cache
def _colours() -> np.ndarray:
    """uint8 [256, 3]: the colour of every class id."""
    return np.array([drawing.colour(label) for label in range(256)], np.uint8)


def tinted(pixels: np.ndarray, target: Any, classes: Sequence[str], scale: int) -> np.ndarray:
    """Semantic maps and instance masks of a target as tints over the enlarged input."""
    if isinstance(target, SemanticTarget):
        return tinted_map(pixels, target.labels, scale, background_of(classes))
    if isinstance(target, ObjectTarget) and target.masks is not None:
        for k in np.flatnonzero(target.valid):
            where = paste_mask(target.masks[k], touched(target.boxes[k]) * scale, pixels.shape[:2])
            pixels = drawing.tint(pixels, where, drawing.colour(int(target.labels[k])), 0.4)
    return pixels


def masked(
    pixels: np.ndarray, prediction: InstancePrediction, scale: int, classes: Sequence[str], width: int, fill: bool = True
) -> np.ndarray:
    """An image with the masks of one image's valid detections: tinted, so that the object shows through, and outlined.

    Args:
        pixels: uint8 [h, w, 3] RGB, `scale` times as large as the boxes' image.
        prediction: of one image; masks are pasted at the size of `pixels`, and the best detection lies on top.
        width: of an outline, pixels.
        fill: whether masks are tinted, too.
    """
    pixels = pixels.copy()
    for k in np.flatnonzero(prediction.valid)[::-1]:
        box = prediction.boxes[k] * np.float32(scale)
        runs = pasted_runs(prediction.masks[k], box, pixels.shape[:2], prediction.alignment)
        where, mask = part_of_runs(runs, pixels.shape[:2])
        ink = object_colour(int(k), int(prediction.labels[k]), classes)
        inner = _without_rim(mask, width)
        part = drawing.tint(pixels[where], inner, ink, 0.35) if fill else pixels[where]
        pixels[where] = drawing.tint(part, mask & ~inner, ink, 1.0)
    return pixels


def _without_rim(mask: np.ndarray, width: int) -> np.ndarray:
    """A mask bool [h, w] without the pixels that lie within `width` of its rim; what is beyond the array is outside."""
    if not mask.size:
        return mask
    import cv2

    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0


def object_colour(position: int, label: int, classes: Sequence[str]) -> drawing.Colour:
    """The colour of a detected object: its class's; where there is one class, that of its position among the detections."""
    return drawing.colour(label if len(classes) > 1 else position)


def present(labels: np.ndarray) -> list[int]:
    """The classes of a map, in order, without IGNORE."""
    return [int(label) for label in np.unique(labels) if label != IGNORE]


def agreement(labels: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> list[tuple[str, drawing.Colour | None]]:
    """Caption of a predicted map: the share of right pixels, and the classes that are predicted."""
    counts = truth != IGNORE
    right = f"{np.mean(labels[counts] == truth[counts]):.1%} right" if counts.any() else "nothing to compare"
    return [(right, None), *(class_of_map(label, classes) for label in present(labels[counts]))]


def paste_mask(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask that was cropped to its box, back in its image: bool [m, m] -> bool [height, width] of `size`."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    result = np.zeros(size, bool)
    side = (max(1, x2 - x1), max(1, y2 - y1))
    whole = np.array(Image.fromarray(mask.astype(np.uint8) * 255).resize(side, Image.Resampling.BILINEAR)) >= 128
    part = result[max(0, y1) : y1 + side[1], max(0, x1) : x1 + side[0]]
    part |= whole[max(0, -y1) :, max(0, -x1) :][: part.shape[0], : part.shape[1]]
    return result


def framed(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, least: int = 2 * SIDE) -> np.ndarray:
    """An image with boxes in the colours of their classes.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: [n, 4] x1 y1 x2 y2, its pixels; the first is drawn last.
        labels: [n].
        least: the image is enlarged by a whole factor until its longer side has at least this many pixels.
    """
    scale = max(1, -(-least // max(image.shape[:2])))
    picture = Image.fromarray(drawing.enlarge(np.ascontiguousarray(image), scale))
    for box, label in reversed(list(zip(boxes, labels, strict=True))):
        drawing.rectangle(picture, np.asarray(box) * scale, drawing.colour(int(label)), max(2, max(picture.size) // 70))
    return np.array(picture)


def comparison(
    columns: Sequence[Sequence[np.ndarray]], rows: Sequence[str], legend: Sequence[tuple[str, drawing.Colour | None]]
) -> np.ndarray:
    """Images side by side, with the predictions of several networks below each.

    Args:
        columns: of each image, a picture for each row: uint8 [h, w, 3] RGB of any size.
        rows: their names.
        legend: names of classes, each with its colour, or None.

    Returns:
        uint8 [height, width, 3] RGB: each picture 160 pixels in a square, its longer side filling it.
    """
    label = 150
    canvas = Image.new("RGB", (label + len(columns) * (SIDE + GAP), len(rows) * (SIDE + GAP) + 2 * TEXT), drawing.PAPER)
    for i, name in enumerate(rows):
        drawing.caption(canvas, (GAP, i * (SIDE + GAP) + SIDE // 2), label - GAP, [(name, None)], TEXT)
        for j, column in enumerate(columns):
            pixels = column[i]
            scale = SIDE / max(pixels.shape[:2])
            size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
            kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
            canvas.paste(Image.fromarray(pixels).resize(size, kind), (label + j * (SIDE + GAP), i * (SIDE + GAP)))
    drawing.caption(canvas, (GAP, len(rows) * (SIDE + GAP) + TEXT // 2), canvas.width - 2 * GAP, list(legend), TEXT)
    return np.array(canvas)
