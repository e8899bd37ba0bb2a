"""An image, its truth and the answers to it, as JSON that the page draws: boxes, outlines of masks, maps as PNG, words."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from cnnvision.evaluation.classification import image_label
from cnnvision.evaluation.detection_errors import judge
from cnnvision.evaluation.pasting import part_of_runs, pasted_runs
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import overlaps
from cnnvision.pictures import drawing
from cnnvision.pictures.overlays import background_of
from cnnvision.types import (
    IGNORE,
    ClassPrediction,
    DetectionPrediction,
    Example,
    InstancePrediction,
    LocalizationPrediction,
    SegmentationPrediction,
)

SIDE, QUALITY = 480, 80
"""Most pixels of an image's longer side, and the quality of its JPEG."""
LEAST, MOST_FOUND = 0.05, 40
"""Detections of an answer: from this score on, and how many at most."""
SAFE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Colours that colour-blind people tell apart (Okabe and Ito 2008), of the first classes."""


def colour(label: int, classes: Sequence[str]) -> str:
    """Of a class; "" of the background, which has none."""
    if label == background_of(classes):
        return ""
    return SAFE[label] if label < len(SAFE) else "#{:02x}{:02x}{:02x}".format(*drawing.colour(label))


def shown(source: Any, index: int, inputs: InputSpec, classes: Sequence[str]) -> dict[str, Any]:
    """An image without answers yet: id, width, height, its pixels as a JPEG, the truth."""
    image = source.read(index).image
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    pixels, buffer = Image.fromarray(image), io.BytesIO()
    (pixels if factor == 1 else pixels.resize(size, Image.Resampling.LANCZOS)).save(buffer, "JPEG", quality=QUALITY)
    found = {"id": source.ids[index], "width": width, "height": height, "answers": []}
    truth = _truth(truth_of(source, index, inputs), inputs.target, classes)
    return found | {"jpeg": base64.b64encode(buffer.getvalue()).decode(), "truth": truth}


def truth_of(source: Any, index: int, inputs: InputSpec) -> Example:
    """What the source knows of an image, without its pixels: with its map or masks where such are predicted."""
    masks = "semantic" if inputs.target == "semantic" else "objects" if inputs.mask_side else False
    return source.read(index, image=False, masks=masks)


def _truth(example: Example, target: str | None, classes: Sequence[str]) -> dict[str, Any]:
    if target == "semantic":
        return {} if example.semantic is None else {"map": map_png(example.semantic, classes)}
    if target == "class":
        label = image_label(example)
        return {} if label is None else {"text": classes[label]}
    if example.objects is None:
        return {}
    objects = example.objects
    kinds = ["crowd" if crowd else "true" for crowd in objects.crowd]
    truth = {"boxes": [_row(*row, None, kind) for *row, kind in zip(objects.boxes, objects.labels, kinds, strict=True)]}
    return truth if objects.masks is None else truth | {"masks": [outline(mask) for mask in objects.masks]}


def answer(prediction: Any, example: Example, classes: Sequence[str]) -> dict[str, Any]:
    """A prediction, in original pixels, held against the truth; {} for none."""
    if isinstance(prediction, SegmentationPrediction):
        return _of_map(prediction, example, classes)
    if isinstance(prediction, DetectionPrediction):
        return _detections(prediction, example)
    if isinstance(prediction, ClassPrediction | LocalizationPrediction):
        return _of_class(prediction, example, classes)
    return {}


def _of_map(prediction: SegmentationPrediction, example: Example, classes: Sequence[str]) -> dict[str, Any]:
    found = {"map": map_png(prediction.labels, classes)}
    if example.semantic is not None and (counts := example.semantic != IGNORE).any():
        right = np.mean(prediction.labels[counts] == example.semantic[counts])
        found["text"] = f"{right:.1%} of the pixels right"
    return found


def _of_class(prediction: Any, example: Example, classes: Sequence[str]) -> dict[str, Any]:
    best, label = int(np.argmax(prediction.scores)), image_label(example)
    found: dict[str, Any] = {"text": f"{classes[best]} {prediction.scores[best]:.2f}"}
    right = None if label is None else best == label
    if isinstance(prediction, LocalizationPrediction):
        largest = example.objects.largest() if example.objects is not None else None
        if largest is not None:
            overlap = float(overlaps(prediction.boxes, example.objects.boxes[largest]))
            right = best == int(example.objects.labels[largest]) and overlap >= 0.5
            found["text"] += f", IoU {overlap:.2f}"
        kind = "found" if right is None else "right" if right else "wrong"
        found["boxes"] = [_row(prediction.boxes, best, None, kind)]
    return found | {"right": right}


def _detections(prediction: DetectionPrediction, example: Example) -> dict[str, Any]:
    """Kinds are those of all detections: each is judged with those above it alone, so any score may be the least."""
    kept = np.flatnonzero(prediction.valid & (prediction.scores >= LEAST))
    kept = kept[np.argsort(-prediction.scores[kept], kind="stable")][:MOST_FOUND]
    boxes, labels, scores = prediction.boxes[kept], prediction.labels[kept], prediction.scores[kept]
    found: dict[str, Any] = {}
    kinds = ["found"] * len(kept)
    if (objects := example.objects) is not None:
        kinds = judge(boxes, labels, scores, objects.boxes, objects.labels, objects.crowd).kinds
        found["objects"] = int((~objects.crowd).sum())
    found["boxes"] = [_row(*row) for row in zip(boxes, labels, scores, kinds, strict=True)]
    if isinstance(prediction, InstancePrediction):
        size = example.size
        runs = [pasted_runs(prediction.masks[k], prediction.boxes[k], size, prediction.alignment) for k in kept]
        found["masks"] = [_outline_of_runs(each, size) for each in runs]
    return found


def _row(box: np.ndarray, label: Any, score: Any, kind: str) -> list[Any]:
    """[x1, y1, x2, y2, label, score or None, kind]."""
    return [*(round(float(x), 1) for x in box), int(label), None if score is None else round(float(score), 3), kind]


def map_png(labels: np.ndarray, classes: Sequence[str]) -> str:
    """A class map uint8 [h, w] as a small PNG in base64, in the colours of its classes; clear where there is none."""
    stride = -(-max(labels.shape) // SIDE)
    picture = Image.fromarray(np.ascontiguousarray(labels[::stride, ::stride])).convert("P")
    inks = [colour(k, classes) if k < len(classes) else "" for k in range(256)]
    picture.putpalette([int(ink[i : i + 2] or "0", 16) for ink in inks for i in (1, 3, 5)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=bytes(255 if ink else 0 for ink in inks))
    return base64.b64encode(buffer.getvalue()).decode()


def _outline_of_runs(runs: np.ndarray, size: tuple[int, int]) -> str:
    (rows, columns), part = part_of_runs(runs, size)
    return outline(part, columns.start, rows.start, max(size))


def outline(mask: np.ndarray, left: int = 0, top: int = 0, side: int | None = None) -> str:
    """The rims of a mask bool [h, w] as an SVG path, holes too (to be filled by the even-odd rule).

    Args:
        mask: a part of an image.
        left, top: where it lies in it.
        side: the image's longer side, pixels: what is smaller than a pixel of the page is left out.
    """
    import cv2

    if not mask.any():
        return ""
    rims, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    blur = 0.7 * max(1.0, (side or max(mask.shape)) / SIDE)
    parts = []
    for rim in rims:
        points = cv2.approxPolyDP(rim, blur, True)[:, 0] + (left, top)
        parts.append("M" + "L".join(f"{x}.5 {y}.5" for x, y in points.tolist()) + "Z")
    return "".join(parts)
