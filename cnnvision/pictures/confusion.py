"""The picture of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cnnvision.pictures import drawing

CELL, TEXT, MOST_NUMBERS = 64, 13, 25
"""Pixels: side of a cell, height of letters. With more classes than the last, cells are small and have no numbers."""


def draw_confusion(confusion: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draws a confusion matrix: shades and percentages of each true class, so that rare classes are seen as well.

    Args:
        confusion: counts [k, k], row the true class, column the predicted one.
        classes: k names.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    classes = drawing.shown(classes)
    count, numbers = len(classes), len(classes) <= MOST_NUMBERS
    cell = CELL if numbers else max(8, 900 // count)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    face = drawing.font(TEXT)
    left = int(max(drawing.font_for(name, TEXT).getlength(name) for name in classes)) + 3 * TEXT if numbers else 2 * TEXT
    canvas = Image.new("RGB", (left + count * cell + TEXT, count * cell + 4 * TEXT), drawing.PAPER)
    draw, top = ImageDraw.Draw(canvas), 3 * TEXT
    draw.text((left, TEXT), "predicted →   (share of the true class, by row)", fill=drawing.FAINT, font=face, anchor="lm")
    for row, column in np.ndindex(count, count):
        share = float(shares[row, column])
        ink = drawing.RIGHT if row == column else drawing.WRONG
        shade = tuple(round(dark + (light - dark) * share**0.5) for dark, light in zip((44, 47, 53), ink, strict=True))
        x, y = left + column * cell, top + row * cell
        draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=shade)
        if numbers and totals[row]:
            text = f"{share:.1%}" if share >= 0.0005 else "0"
            draw.text((x + cell / 2 - 1, y + cell / 2), text, fill=(255, 255, 255), font=face, anchor="mm")
    for k, name in enumerate(classes if numbers else ()):
        draw.text(
            (left - TEXT, top + (k + 0.5) * cell), name, fill=drawing.INK, font=drawing.font_for(name, TEXT), anchor="rm"
        )
        draw.rectangle((left - TEXT + 3, top + k * cell, left - 4, top + (k + 1) * cell - 2), fill=drawing.colour(k))
        draw.rectangle((left + k * cell, top - 8, left + (k + 1) * cell - 2, top - 3), fill=drawing.colour(k))
    return np.array(canvas)
