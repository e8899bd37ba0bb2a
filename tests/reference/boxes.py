"""Slow, obvious box arithmetic on single boxes (x1, y1, x2, y2), in Python floats."""


def area(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def intersection(a, b):
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a, b):
    union = area(a) + area(b) - intersection(a, b)
    return intersection(a, b) / union if union > 0 else 0.0


def giou(a, b):
    union = area(a) + area(b) - intersection(a, b)
    enclosing = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return iou(a, b) - ((enclosing - union) / enclosing if enclosing > 0 else 0.0)
