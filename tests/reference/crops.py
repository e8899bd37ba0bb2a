"""Slow, obvious crops of SSD: one patch, one object at a time, in Python floats. Boxes are x1 y1 x2 y2."""

import math

from tests.reference.boxes import iou


def centre_within(box, patch):
    """Whether the centre of a box lies within a patch, not on its rim."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return patch[0] < x < patch[2] and patch[1] < y < patch[3]


def drawn(numbers, canvas):
    """The patch of a canvas that four numbers in [0, 1) stand for: whole pixels, sides of 0.3 to 1 of the canvas's."""
    left, top, width, height = canvas
    w = max(1, round((0.3 + 0.7 * numbers[0]) * width))
    h = max(1, round((0.3 + 0.7 * numbers[1]) * height))
    x, y = left + math.floor(numbers[2] * (width - w + 1)), top + math.floor(numbers[3] * (height - h + 1))
    return x, y, x + w, y + h


def good(patch, boxes, least):
    """Whether a patch is neither too wide nor too high, and shows the centre of a box that it has the least IoU with."""
    aspect = (patch[2] - patch[0]) / (patch[3] - patch[1])
    return 0.5 <= aspect <= 2 and any(centre_within(box, patch) and iou(patch, box) >= least for box in boxes)


def chosen(numbers, probability, canvas, boxes):
    """x1 y1 x2 y2 of SSD's crop of a canvas (x, y, width, height), None for the whole.

    `numbers` say whether there is one, the order of the seven choices (the last one is the whole), and the fifty patches
    of each choice but the last.
    """
    if numbers[0] >= probability:
        return None
    for choice in sorted(range(7), key=lambda k: numbers[1 + k]):
        if choice == 6:
            return None
        for trial in range(50):
            start = 8 + 4 * (50 * choice + trial)
            patch = drawn(numbers[start : start + 4], canvas)
            if good(patch, boxes, (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)[choice]):
                return patch
    return None


def kept(boxes, patch):
    """Which objects stay in a patch: those whose centre does; cut to the patch, in original pixels."""
    return {
        k: (max(box[0], patch[0]), max(box[1], patch[1]), min(box[2], patch[2]), min(box[3], patch[3]))
        for k, box in enumerate(boxes)
        if centre_within(box, patch)
    }
