"""Greedy suppression as it is told: one box at a time, in plain Python."""

import numpy as np

from tests.reference.boxes import iou


def nms(boxes, scores, valid, threshold):
    """The places of the boxes that stay, the best first; equal scores in the order given."""
    left = sorted((i for i in range(len(boxes)) if valid[i]), key=lambda i: -scores[i])
    stay = []
    while left:
        best, *rest = left
        stay.append(best)
        left = [i for i in rest if not float(iou(boxes[best], boxes[i])) > threshold]
    return stay


def detect(boxes, scores, valid, threshold, most):
    """[(index, class, score)] of the best, each class suppressed to its end."""
    found = []
    for label in range(scores.shape[1]):
        for index in nms(boxes[:, label], scores[:, label], valid[:, label], threshold):
            found.append((-float(scores[index, label]), label, index))
    return [(index, label, np.float32(-score)) for score, label, index in sorted(found)[:most]]
