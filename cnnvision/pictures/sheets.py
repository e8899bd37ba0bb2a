"""Pictures of batches, targets and predictions, drawn by their type.

On a sheet targets are solid frames and tints in the colour of their class, predictions are dashed, or tints beside. Each
input has a frame of its own: green, with a tick, where the prediction is right; red, with a cross, where it is wrong; grey
where there is nothing to compare. Right means the right class and, for a box, an IoU of at least 0.5; of detections, all of
them right, and no object missed. Padding is hatched.
"""

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from cnnvision.evaluation.detection_errors import confident
from cnnvision.pictures import captions, drawing
from cnnvision.pictures.curves import draw_curves
from cnnvision.pictures.overlays import agreement, background_of, masked, tinted, tinted_map
from cnnvision.storage import write_whole
from cnnvision.types import (
    Batch,
    ClassPrediction,
    DetectionPrediction,
    InstancePrediction,
    LocalizationPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)

GAP, FRAME, LINE = 8, 4, 19
"""Pixels of a sheet: between tiles, of the frame around one, from one line of text to the next."""

MOST = 16
"""Tiles of a sheet."""

TEXT = 14
"""Height of letters on a sheet, pixels."""

MOST_TAGS = 3
"""Objects of one image that still get their names into the picture."""
MOST_FRAMED = 12
"""Detections with masks in one image that still get frames and names."""


def sheet(
    batch: Batch,
    classes: Sequence[str],
    predictions: Any = None,
    most: int = MOST,
    columns: int = 4,
    scale: int | None = None,
    threshold: float = 0.5,
) -> np.ndarray:
    """A contact sheet of a batch's inputs with their targets, and with predictions where they are given.

    Args:
        batch: arrays on the host or on a device.
        classes: names for labels (of the semantic classes for a `SemanticTarget`).
        predictions: of this batch, in input pixels; a type that `types` defines.
        most: how many rows of the batch are drawn.
        columns: tiles side by side.
        scale: whole factor that enlarges the inputs; by default the least that makes them 220 pixels or more.
        threshold: detections are drawn, and judged, from this score on.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ValueError: for predictions of a type that cannot be drawn.
    """
    classes = drawing.shown(classes)
    if predictions is not None:
        _check_drawable(predictions)
    batch, predictions = jax.tree.map(np.asarray, (batch, confident(predictions, threshold)))
    count = min(most, len(batch.valid))
    height, width = batch.image.shape[1:3]
    scale = scale or -(-220 // max(height, width))
    if isinstance(batch.target, SemanticTarget):
        columns = min(columns, 2)  # each tile is two or three pictures wide
    lines = 1 if predictions is None else 2
    tiles = [_tile(batch, i, classes, _row(predictions, i), scale, lines) for i in range(count)]
    columns = min(columns, count)
    rows = -(-count // columns)
    tile_height, tile_width = tiles[0].shape[:2]
    canvas = np.empty((rows * (tile_height + GAP) + GAP, columns * (tile_width + GAP) + GAP, 3), np.uint8)
    canvas[:] = drawing.PAPER
    for i, tile in enumerate(tiles):
        y, x = GAP + i // columns * (tile_height + GAP), GAP + i % columns * (tile_width + GAP)
        canvas[y : y + tile_height, x : x + tile_width] = tile
    return canvas


def write_sheet(
    path: epath.PathLike, shown: Sequence[tuple[Batch, Any]], classes: Sequence[str], threshold: float = 0.5
) -> None:
    """Writes one sheet of several batches of one shape, each with its predictions or None; nothing where there is none."""
    if shown:
        batch, predictions = jax.tree.map(lambda *rows: np.concatenate(rows), *shown)
        write_png(path, sheet(batch, classes, predictions, threshold=threshold))


def annotate(image: np.ndarray, classes: Sequence[str], prediction: Any, threshold: float = 0.5) -> np.ndarray:
    """One original image with its prediction.

    Args:
        image: uint8 [H, W, 3] RGB.
        classes: names for labels.
        prediction: one row of a prediction, its boxes in pixels of this image.
        threshold: detections are drawn from this score on.

    Returns:
        uint8 RGB: the image, enlarged by a whole factor where it is small, with a line of text beneath.

    Raises:
        ValueError: for a prediction of a type that cannot be drawn.
    """
    classes = drawing.shown(classes)
    _check_drawable(prediction)
    prediction = jax.tree.map(np.asarray, confident(prediction, threshold))
    scale = max(1, -(-320 // max(image.shape[:2])))
    pixels = drawing.enlarge(image, scale)
    text = max(TEXT, round(max(pixels.shape[:2]) / 40))
    picture = Image.new("RGB", (max(pixels.shape[1], 12 * text), pixels.shape[0] + 2 * text), drawing.PAPER)
    inner, best = Image.fromarray(pixels), captions.of_prediction(prediction, classes)
    if isinstance(prediction, SegmentationPrediction):
        inner = Image.fromarray(tinted_map(pixels, prediction.labels, scale, background_of(classes)))
    elif isinstance(prediction, InstancePrediction):
        inner = Image.fromarray(masked(pixels, prediction, scale, classes, max(1, text // 9)))
    framed = []
    if isinstance(prediction, LocalizationPrediction):
        framed = [(prediction.boxes, *best[0])]
    elif isinstance(prediction, DetectionPrediction):
        framed = captions.framed(prediction, classes)[::-1]
    if isinstance(prediction, InstancePrediction) and len(framed) > MOST_FRAMED:
        framed = []  # names would hide what the masks show
    for box, words, ink in framed:
        drawing.rectangle(inner, box * scale, ink, max(2, text // 7))
        drawing.tag(inner, box * scale, words, ink, text)
    picture.paste(inner, (0, 0))
    drawing.caption(picture, (text // 2, pixels.shape[0] + text // 2), picture.width - text, best, text)
    return np.array(picture)


def write_png(path: epath.PathLike, array: np.ndarray) -> None:
    """Writes uint8 [height, width, 3] RGB, or [height, width] ids, as PNG, local or remote (gs://).

    A reader sees the whole file or none.
    """
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG", compress_level=3)  # a third of the seconds for a seventh more bytes
    write_whole(path, data.getvalue())


def curves(entries: Sequence[dict[str, Any]], path: epath.PathLike) -> None:
    """Writes the learning curves of a run (see `draw_curves`) as PNG.

    Raises:
        ValueError: the entries hold no value.
    """
    write_png(path, draw_curves(entries))


def _row(predictions: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], predictions)


def _tile(batch: Batch, i: int, classes: Sequence[str], prediction: Any, scale: int, lines: int) -> np.ndarray:
    """One row of a batch: its input with what is drawn on it, in a frame, with `lines` of text beneath."""
    target, valid = _row(batch.target, i), bool(batch.valid[i])
    height, width = (scale * side for side in batch.image.shape[1:3])
    pixels = drawing.hatch(height, width)
    image_height, image_width = batch.image.shape[1:3] if not valid else batch.size[i]
    if valid:
        part = batch.image[i, :image_height, :image_width]
        pixels[: scale * image_height, : scale * image_width] = drawing.enlarge(part, scale)
    described: captions.Parts = [("no example", None)]
    right = None
    inner = Image.fromarray(pixels)
    if valid:
        inner = Image.fromarray(tinted(pixels, target, classes, scale))
        described = captions.of_target(target, classes)
        _draw_frames(inner, target, scale)
    guess: captions.Parts = []
    if isinstance(target, SemanticTarget):
        shown = [pixels, np.array(inner)]
        if prediction is not None:
            labels = prediction.labels[:image_height, :image_width]
            shown.append(tinted_map(pixels, labels, scale, background_of(classes)) if valid else pixels)
            guess = agreement(labels, target.labels[:image_height, :image_width], classes) if valid else []
        inner = _side_by_side(shown)
        width = inner.width
    elif valid and prediction is not None:
        inner = _with_prediction(inner, prediction, classes, scale)
        guess, right = captions.comparison(prediction, target, classes)
    if valid:
        _draw_tags(inner, target, classes, scale)
    frame = drawing.NEUTRAL if right is None else drawing.RIGHT if right else drawing.WRONG
    tile = Image.new("RGB", (width + 2 * FRAME, height + 2 * FRAME + lines * LINE + 4), drawing.PAPER)
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, 0, width + 2 * FRAME - 1, height + 2 * FRAME - 1), fill=frame)
    tile.paste(inner, (FRAME, FRAME))
    top = height + 2 * FRAME + 3
    drawing.caption(tile, (FRAME, top), width, described, TEXT)
    if lines > 1:
        sign = "" if right is None else "✓" if right else "✗"
        draw.text((FRAME, top + LINE + TEXT / 2), sign, fill=frame, font=drawing.font(TEXT + 2), anchor="lm")
        drawing.caption(tile, (FRAME + TEXT + 3, top + LINE), width - TEXT - 3, guess, TEXT)
    return np.array(tile)


def _draw_frames(picture: Image.Image, target: Any, scale: int) -> None:
    """Frames around objects, thin ones around crowds; other targets are shown by tint or text."""
    if isinstance(target, ObjectTarget):
        for k in np.flatnonzero(target.valid):
            width = 1 if target.crowd[k] else 2
            drawing.rectangle(picture, target.boxes[k] * scale, drawing.colour(int(target.labels[k])), width)


def _draw_tags(picture: Image.Image, target: Any, classes: Sequence[str], scale: int) -> None:
    """Names at the objects where they are few; where they are many the line of text tells the colours."""
    if isinstance(target, ObjectTarget) and np.count_nonzero(target.valid) <= MOST_TAGS:
        for k in np.flatnonzero(target.valid):
            name, ink = captions.name_of(int(target.labels[k]), classes)
            drawing.tag(picture, target.boxes[k] * scale, name + (" (crowd)" if target.crowd[k] else ""), ink, TEXT - 2)


def _side_by_side(pictures: Sequence[np.ndarray]) -> Image.Image:
    """Pictures of one size in a row: of maps the image, the truth and the prediction."""
    gap = np.full((pictures[0].shape[0], FRAME, 3), drawing.PAPER, np.uint8)
    return Image.fromarray(np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1))


def _check_drawable(prediction: Any) -> None:
    if not isinstance(prediction, LocalizationPrediction | ClassPrediction | SegmentationPrediction | DetectionPrediction):
        raise ValueError(f"no way to draw predictions of type {type(prediction).__name__}")


def _with_prediction(picture: Image.Image, prediction: Any, classes: Sequence[str], scale: int) -> Image.Image:
    """The picture with outlines of predicted masks, or dashed frames around boxes; classes are named in the caption."""
    if isinstance(prediction, InstancePrediction):
        return Image.fromarray(masked(np.array(picture), prediction, scale, classes, 2, fill=False))
    if isinstance(prediction, LocalizationPrediction):
        ink = drawing.colour(int(np.argmax(prediction.scores)))
        drawing.dashed_rectangle(picture, prediction.boxes * scale, ink, 2)
    if isinstance(prediction, DetectionPrediction):
        for k in np.flatnonzero(prediction.valid):
            ink = drawing.colour(int(prediction.labels[k]))
            drawing.dashed_rectangle(picture, prediction.boxes[k] * scale, ink, 2)
    return picture
