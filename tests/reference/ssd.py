"""SSD in the words of Liu et al. 2016, one default box at a time, in Python floats. Boxes are (x1, y1, x2, y2)."""

import math

import numpy as np

from tests.reference.anchors import encode
from tests.reference.boxes import iou
from tests.reference.nms import detect

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def default_boxes(positions, size, scales, ratios, steps=None):
    """Section 2.2, "Choosing scales and aspect ratios"; no side is longer than the image's."""
    result = []
    for k, (rows, columns) in enumerate(positions):
        for row in range(rows):
            for column in range(columns):
                y = (row + 0.5) * (steps[k] if steps else size[0] / rows)
                x = (column + 0.5) * (steps[k] if steps else size[1] / columns)
                shapes = [(scales[k], 1.0), (math.sqrt(scales[k] * scales[k + 1]), 1.0)]
                shapes += [(scales[k], each) for ratio in ratios[k] for each in (ratio, 1 / ratio)]
                for scale, ratio in shapes:
                    width = min(scale * math.sqrt(ratio), 1.0) * size[1]
                    height = min(scale / math.sqrt(ratio), 1.0) * size[0]
                    result.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return result


def match(boxes, objects, real, threshold):
    """Section 2.2, "Matching strategy": the object of each default box, or None. `real`: the objects that count."""
    table = [[iou(box, object) if counts else 0.0 for object, counts in zip(objects, real, strict=True)] for box in boxes]
    result = []
    for row in table:
        best = max(row, default=0.0)
        result.append(row.index(best) if 0 < best >= threshold else None)
    for number in range(len(objects)):
        column = [row[number] for row in table]
        if max(column, default=0.0) > 0:
            result[column.index(max(column))] = number
    return result


def hard_negatives(losses, positive, negative, ratio):
    """Section 2.2, "Hard negative mining": the places of the chosen ones."""
    order = sorted((i for i in range(len(losses)) if negative[i]), key=lambda i: -losses[i])
    return order[: int(ratio * sum(positive))]


def cross_entropy(logits, label):
    """−log softmax(logits)[label]."""
    logits = np.asarray(logits, np.float64)
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])


def loss(logits, deltas, boxes, images, ratio=3.0):
    """(Lconf / N, Lloc / N) of a batch (section 2.2, "Training objective"); images: [(objects, labels from 1 on)]."""
    confidence, location, count = 0.0, 0.0, 0
    for its_logits, its_deltas, (objects, labels) in zip(logits, deltas, images, strict=True):
        matched = match(boxes, objects, [True] * len(objects), 0.5)
        positive = [number is not None for number in matched]
        entropy = [
            cross_entropy(row, 0 if number is None else labels[number])
            for row, number in zip(its_logits, matched, strict=True)
        ]
        hard = hard_negatives(entropy, positive, [not each for each in positive], ratio)
        confidence += sum(entropy[i] for i in range(len(boxes)) if positive[i] or i in hard)
        for row, box, number in zip(its_deltas, boxes, matched, strict=True):
            if number is not None:
                for ours, target in zip(row, encode(objects[number], box, WEIGHTS), strict=True):
                    distance = abs(float(ours) - target)
                    location += 0.5 * distance**2 if distance < 1 else distance - 0.5
        count += sum(positive)
    return confidence / max(count, 1), location / max(count, 1)


def ceiling(boxes, objects, labels, real, classes, threshold, most):
    """[(object, class)] that a perfect network finds: those that a default box stands for, suppressed class by class."""
    matched = match(boxes, objects, real, 0.5)
    rows = [number for number in matched if number is not None]
    if not rows:
        return []
    decoded = np.array([[objects[number]] * classes for number in rows])
    scores = np.array([[float(labels[number] == k) for k in range(classes)] for number in rows])
    return sorted((rows[index], k) for index, k, _ in detect(decoded, scores, scores > 0, threshold, most))
