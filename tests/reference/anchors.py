"""Slow, obvious anchors, deltas, matching: one box at a time, in Python floats. Boxes are (x1, y1, x2, y2)."""

import math

from tests.reference.boxes import area, intersection, iou


def anchors(sizes, ratios, positions, stride):
    """Of a grid of (height, width) positions; round() is to the nearest, halves to even, as NumPy's."""
    result = []
    for row in range(positions[0]):
        for column in range(positions[1]):
            for ratio in ratios:
                for size in sizes:
                    width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    corners = (round(-width / 2), round(-height / 2), round(width / 2), round(height / 2))
                    result.append([c + s * stride for c, s in zip(corners, (column, row, column, row), strict=True)])
    return result


def encode(box, reference, weights):
    (w, h), (rw, rh) = ((b[2] - b[0], b[3] - b[1]) for b in (box, reference))
    if min(w, h, rw, rh) <= 0:
        return [0.0] * 4
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    rx, ry = (reference[0] + reference[2]) / 2, (reference[1] + reference[3]) / 2
    deltas = ((x - rx) / rw, (y - ry) / rh, math.log(w / rw), math.log(h / rh))
    return [delta * weight for delta, weight in zip(deltas, weights, strict=True)]


def decode(deltas, reference, weights):
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas, weights, strict=True))
    rw, rh = reference[2] - reference[0], reference[3] - reference[1]
    x, y = reference[0] + rw / 2 + dx * rw, reference[1] + rh / 2 + dy * rh
    w, h = rw * math.exp(min(dw, math.log(62.5))), rh * math.exp(min(dh, math.log(62.5)))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def match(boxes, objects, valid, crowd, positive_from, negative_below, low_quality):
    """[(object, positive, negative)] of each box, in the words of Ren et al. 2015, section 3.1.2."""
    real = [i for i in range(len(objects)) if valid[i] and not crowd[i]]
    crowds = [objects[i] for i in range(len(objects)) if valid[i] and crowd[i]]
    table = [[iou(box, objects[i]) for i in real] for box in boxes]
    result = []
    for box, row in zip(boxes, table, strict=True):
        best = max(row, default=0.0)
        positive = 0 < best >= positive_from
        if low_quality:
            for column, overlap in enumerate(row):
                positive = positive or 0 < overlap == max(other[column] for other in table)
        inside = any(area(box) > 0 and intersection(box, c) / area(box) >= 0.7 for c in crowds)
        near = any(iou(box, c) >= negative_below for c in crowds)
        negative = best < negative_below and not positive and not inside and not near
        result.append((real[row.index(best)] if best > 0 else 0, positive, negative))
    return result
