"""How a two-stage detector comes to its answer, a picture a stage: anchors, proposals, detections, masks.

All boxes are in pixels of the network's input; pictures are enlarged by a whole factor where the input is small.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from cnnvision.evaluation.detection_errors import confident
from cnnvision.pictures import captions, drawing
from cnnvision.pictures.overlays import masked, object_colour
from cnnvision.types import DetectionPrediction, InstancePrediction

LEAST, TEXT = 512, 14
"""Least pixels of a picture's longer side; height of letters."""
MOST = 60
"""Boxes of a picture, at most: the best."""
CELL = 4
"""Pixels that a cell of a mask is enlarged to."""


def draw_stages(
    image: np.ndarray,
    anchors: Sequence[np.ndarray],
    objectness: np.ndarray,
    proposals: tuple[np.ndarray, np.ndarray, np.ndarray],
    detections: DetectionPrediction,
    classes: Sequence[str],
    threshold: float = 0.5,
) -> dict[str, np.ndarray]:
    """The stages of one image, in their order; all arrays are NumPy's.

    Args:
        image: uint8 [h, w, 3] RGB, the part of the input that is image.
        anchors: of each map, [n, 4] x1 y1 x2 y2.
        objectness: [n of all maps], logits.
        proposals: boxes [p, 4], scores [p], valid [p].
        detections: of this image; where it is an `InstancePrediction`, its masks are drawn, too.
        classes: their names.
        threshold: detections are drawn from this score on.

    Returns:
        name -> uint8 RGB: "anchors", "proposals", "detections"; with masks also "masks", as the network gives them, and
        "pasted".
    """
    classes = drawing.shown(classes)
    scale = max(1, -(-LEAST // max(image.shape[:2])))
    pixels = drawing.enlarge(np.ascontiguousarray(image), scale)
    detections, (boxes, scores, valid) = confident(detections, threshold), proposals
    levels = np.repeat(np.arange(len(anchors)), [len(of_map) for of_map in anchors])
    found = {
        "anchors": _boxes(pixels, np.concatenate(anchors), objectness, levels, scale),
        "proposals": _boxes(pixels, boxes[valid], scores[valid], np.zeros(valid.sum(), int), scale),
    }
    framed = Image.fromarray(pixels)
    for box, words, ink in captions.framed(detections, classes)[::-1]:
        drawing.rectangle(framed, box * scale, ink, 2)
        drawing.tag(framed, box * scale, words, ink, TEXT)
    found["detections"] = np.array(framed)
    if isinstance(detections, InstancePrediction):
        found |= {"masks": _masks(detections, classes), "pasted": masked(pixels, detections, scale, classes, 2)}
    return found


def _boxes(pixels: np.ndarray, boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, scale: int) -> np.ndarray:
    """The boxes with the highest scores over a darkened image, the best on top, a colour for each kind."""
    picture = Image.fromarray((pixels // 2).astype(np.uint8))
    for k in np.argsort(-scores, kind="stable")[:MOST][::-1]:
        drawing.rectangle(picture, boxes[k] * scale, drawing.colour(int(kinds[k])), 1)
    return np.array(picture)


def _masks(detections: InstancePrediction, classes: Sequence[str]) -> np.ndarray:
    """The probabilities of each detection's mask, side by side, black to its colour, its class and score beneath."""
    chosen = np.flatnonzero(detections.valid)[:MOST]
    side = CELL * detections.masks.shape[-1]
    columns = max(1, min(len(chosen), max(1, LEAST // side)))
    rows, step = max(1, -(-len(chosen) // columns)), side + TEXT + 8
    sheet = Image.new("RGB", (columns * (side + 4), rows * step), drawing.PAPER)
    for position, (k, (_, words, ink)) in enumerate(zip(chosen, captions.framed(detections, classes), strict=False)):
        x, y = position % columns * (side + 4), position // columns * step
        shade = detections.masks[k][..., None] * np.array(object_colour(int(k), int(detections.labels[k]), classes))
        sheet.paste(Image.fromarray(drawing.enlarge(shade.astype(np.uint8), CELL, smooth=False)), (x, y))
        drawing.caption(sheet, (x, y + side + 2), side, [(words, ink)], TEXT)
    return np.array(sheet)
