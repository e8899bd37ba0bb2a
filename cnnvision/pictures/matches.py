"""Which boxes of a network stand for which object: anchors, default boxes, cells."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from cnnvision.pictures import captions, drawing
from cnnvision.task import Matched
from cnnvision.types import Batch

LEAST, TEXT, GAP = 320, 13, 8
"""Least pixels of a drawn input's longer side; height of letters; pixels between two tiles."""
MOST = 8
"""Images of a picture."""
COLUMNS = 4


def draw_matches(batch: Batch, matched: Mapping[str, Matched], classes: Sequence[str]) -> np.ndarray:
    """The objects of a batch's first images, each in a colour of its own, and in that colour what stands for it.

    Cells are tinted, and the whole grid is drawn; other boxes are thin frames. Objects have a thick frame and their class's
    name; one that nothing stands for has a dashed frame. The line beneath counts.

    Args:
        batch: NumPy arrays, with an `ObjectTarget`.
        matched: name -> boxes, of this batch.
        classes: names.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    classes = drawing.shown(classes)
    scale = max(1, -(-LEAST // max(batch.image.shape[1:3])))
    rows = np.flatnonzero(batch.valid)[:MOST]
    tiles = [_tile(batch, int(i), {name: _of(boxes, i) for name, boxes in matched.items()}, classes, scale) for i in rows]
    columns = max(1, min(COLUMNS, len(tiles)))
    height, width = (scale * side for side in batch.image.shape[1:3])
    step = height + 2 * TEXT + GAP
    lines = max(1, -(-len(tiles) // columns))
    canvas = Image.new("RGB", (columns * (width + GAP) + GAP, lines * step + GAP), drawing.PAPER)
    for position, tile in enumerate(tiles):
        canvas.paste(tile, (GAP + position % columns * (width + GAP), GAP + position // columns * step))
    return np.array(canvas)


def _of(matched: Matched, row: int) -> Matched:
    return Matched(matched.boxes[row], matched.object[row], matched.valid[row])


def _tile(batch: Batch, row: int, matched: Mapping[str, Matched], classes: Sequence[str], scale: int) -> Image.Image:
    target = batch.target
    objects = np.flatnonzero(target.valid[row] & ~target.crowd[row])
    inks = {int(k): drawing.colour(position) for position, k in enumerate(objects)}
    pixels = drawing.enlarge(np.ascontiguousarray(batch.image[row]), scale)
    if "cells" in matched:
        pixels = _with_cells(pixels, matched["cells"], inks, scale)
    picture, reached, counts = Image.fromarray(pixels), set(), []
    for name, boxes in matched.items():
        which = np.flatnonzero(boxes.valid)
        reached |= {int(boxes.object[m]) for m in which}
        counts.append(f"{len(which)} {name}")
        for m in which if name != "cells" else ():
            drawing.rectangle(picture, boxes.boxes[m] * scale, inks[int(boxes.object[m])], 1)
    for k, ink in inks.items():
        frame = drawing.rectangle if k in reached else drawing.dashed_rectangle
        frame(picture, target.boxes[row, k] * scale, ink, 3)
        x, y = (target.boxes[row, k, :2] + target.boxes[row, k, 2:]) / 2 * scale
        ImageDraw.Draw(picture).ellipse((x - 3, y - 3, x + 3, y + 3), fill=ink, outline=(0, 0, 0))
        name, _ = captions.name_of(int(target.labels[row, k]), classes)
        drawing.tag(picture, target.boxes[row, k] * scale, name if k in reached else f"{name}: lost", ink, TEXT - 2)
    tile = Image.new("RGB", (picture.width, picture.height + 2 * TEXT), drawing.PAPER)
    tile.paste(picture, (0, 0))
    words = f"{len(reached)} of {len(objects)} objects: {', '.join(counts)}"
    drawing.caption(tile, (0, picture.height + TEXT // 2), tile.width, [(words, None)], TEXT)
    return tile


def _with_cells(pixels: np.ndarray, cells: Matched, inks: Mapping[int, drawing.Colour], scale: int) -> np.ndarray:
    """The grid as thin lines, and the cells of objects in their colours."""
    for m in np.flatnonzero(cells.valid):
        x1, y1, x2, y2 = np.round(cells.boxes[m] * scale).astype(int)
        where = np.zeros(pixels.shape[:2], bool)
        where[y1:y2, x1:x2] = True
        pixels = drawing.tint(pixels, where, inks[int(cells.object[m])], 0.45)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for x1, y1, x2, y2 in np.round(cells.boxes * scale).astype(int).tolist():
        draw.rectangle((x1, y1, x2, y2), outline=(230, 230, 230))
    return np.array(picture)
