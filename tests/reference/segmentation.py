"""Slow, obvious metrics of semantic maps: loops over pixels and over pairs of pixels. 255 in the truth is ignored, 255 in a
prediction is no answer."""

import math

import numpy as np

IGNORE = 255


def pixels(truth, labels):
    """(true id, predicted id) of the pixels that count."""
    return [(int(a), int(b)) for a, b in zip(truth.ravel(), labels.ravel(), strict=True) if a != IGNORE]


def confusion(truth, labels, classes):
    result = np.zeros((classes, classes + 1), int)
    for a, b in pixels(truth, labels):
        result[a, classes if b == IGNORE else b] += 1
    return result


def ious(pairs, classes):
    """IoU of each class from a list of (true id, predicted id); NaN where it does not occur."""
    result = []
    for c in range(classes):
        both, either = sum(a == c and b == c for a, b in pairs), sum(a == c or b == c for a, b in pairs)
        result.append(both / either if either else math.nan)
    return result


def dices(pairs, classes):
    result = []
    for c in range(classes):
        both, sizes = sum(a == c and b == c for a, b in pairs), sum((a == c) + (b == c) for a, b in pairs)
        result.append(2 * both / sizes if sizes else math.nan)
    return result


def mean_of_defined(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def neighbours(y, x, shape):
    for i, j in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= i < shape[0] and 0 <= j < shape[1]:
            yield i, j


def boundary(labels, truth, class_id):
    """Pixels of the class, not ignored in the truth, with a neighbour not ignored in the truth that is not of the class."""
    return [
        (y, x)
        for y, x in np.ndindex(*labels.shape)
        if truth[y, x] != IGNORE
        and labels[y, x] == class_id
        and any(truth[i, j] != IGNORE and labels[i, j] != class_id for i, j in neighbours(y, x, labels.shape))
    ]


def share_near(points, others, theta):
    return sum(any(math.dist(point, other) <= theta for other in others) for point in points) / len(points)


def boundary_f(truth, labels, classes):
    theta = max(1.0, 0.0075 * math.hypot(*truth.shape))
    scores = []
    for c in range(classes):
        true, predicted = boundary(truth, truth, c), boundary(labels, truth, c)
        if not true and not predicted:
            continue
        if not true or not predicted:
            scores.append(0.0)
            continue
        precision, recall = share_near(predicted, true, theta), share_near(true, predicted, theta)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return mean_of_defined(scores)


def segments(labels, truth):
    """{pixel: segment} of the pixels that count: 0 for class 0, 1, 2 … for the components of class 1, None for no answer."""
    found = {}
    count = 0
    for start in np.ndindex(*labels.shape):
        if truth[start] == IGNORE or start in found:
            continue
        if labels[start] != 1:
            found[start] = 0 if labels[start] == 0 else None
            continue
        count += 1
        queue = [start]
        found[start] = count
        while queue:
            for place in neighbours(*queue.pop(0), labels.shape):
                if place not in found and labels[place] == 1 and truth[place] != IGNORE:
                    found[place] = count
                    queue.append(place)
    return found


def rand_error(truth, labels):
    """Share of the pairs of pixels on which the two disagree; a pair with a pixel without an answer is one of them."""
    true, predicted = segments(truth, truth), segments(labels, truth)
    places = list(true)
    wrong = pairs = 0
    for index, a in enumerate(places):
        for b in places[:index]:
            pairs += 1
            answered = predicted[a] is not None and predicted[b] is not None
            wrong += not answered or (true[a] == true[b]) != (predicted[a] == predicted[b])
    return wrong / pairs if pairs else math.nan


def foreground_rand_score(truth, labels):
    """Ordered pairs of true foreground pixels, each with itself too: in one segment on both sides, over the mean of both."""
    true, predicted = segments(truth, truth), segments(labels, truth)
    places = [place for place in true if truth[place] == 1]
    in_true = in_predicted = in_both = 0
    for a in places:
        for b in places:
            in_true += true[a] == true[b]
            in_predicted += predicted[a] == predicted[b]
            in_both += true[a] == true[b] and predicted[a] == predicted[b] and predicted[a] is not None
    return in_both / (0.5 * in_true + 0.5 * in_predicted) if places else math.nan
