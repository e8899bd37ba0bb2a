"""Slow, obvious YOLO (Redmon et al. 2016): one cell, one box, one object at a time, in Python floats. Boxes are
(x1, y1, x2, y2) in pixels of the input unless said otherwise."""

import math

from tests.reference.boxes import area, iou


def cell_of(box, cells, height, width):
    """(row, column) of the cell that holds a box's centre; the last border belongs to the last cell."""
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    return min(max(math.floor(y * cells[0]), 0), cells[0] - 1), min(max(math.floor(x * cells[1]), 0), cells[1] - 1)


def assign(boxes, valid, crowd, size, cells, height, width):
    """({(row, column): object}, the empty cells, the lost objects)."""
    real = [i for i in range(len(boxes)) if valid[i] and not crowd[i]]
    of_cell = {}
    for i in real:
        cell = cell_of(boxes[i], cells, height, width)
        if cell not in of_cell or area(boxes[i]) > area(boxes[of_cell[cell]]):
            of_cell[cell] = i
    empty = set()
    for row in range(cells[0]):
        for column in range(cells[1]):
            x, y = (column + 0.5) * width / cells[1], (row + 0.5) * height / cells[0]
            in_image = column * width / cells[1] < size[1] and row * height / cells[0] < size[0]
            crowds = [boxes[i] for i in range(len(boxes)) if valid[i] and crowd[i]]
            in_crowd = any(b[0] <= x < b[2] and b[1] <= y < b[3] for b in crowds)
            if in_image and not in_crowd and (row, column) not in of_cell:
                empty.add((row, column))
    return of_cell, empty, [i for i in real if i not in of_cell.values()]


def decode(numbers, cell, cells):
    """x, y from the cell's corner, √w, √h -> the box in a unit square."""
    x, y, root_w, root_h = numbers
    x, y, w, h = (cell[1] + x) / cells[1], (cell[0] + y) / cells[0], root_w**2, root_h**2
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def terms(outputs, B, boxes, labels, valid, crowd, size, height, width):
    """The five sums of equation 3, and (cell, responsible box, IoU) of each object that has a cell."""
    cells, K = (len(outputs), len(outputs[0])), len(outputs[0][0]) - 5 * B
    of_cell, empty, _ = assign(boxes, valid, crowd, size, cells, height, width)
    sums, chosen = dict.fromkeys(("xy", "wh", "object", "no_object", "class"), 0.0), []
    for row in range(cells[0]):
        for column in range(cells[1]):
            numbers, cell = [float(x) for x in outputs[row][column]], (row, column)
            confidences = [numbers[5 * j + 4] for j in range(B)]
            if cell not in of_cell:
                if cell in empty:
                    sums["no_object"] += sum(c**2 for c in confidences)
                continue
            i = of_cell[cell]
            scale = (width, height, width, height)
            truth = tuple(float(v) / s for v, s in zip(boxes[i], scale, strict=True))
            found = [decode(numbers[5 * j : 5 * j + 4], cell, cells) for j in range(B)]
            overlaps = [iou(box, truth) for box in found]
            if max(overlaps) > 0:
                best = overlaps.index(max(overlaps))
            else:
                numbers_of = lambda b: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1])
                far = [math.dist(numbers_of(box), numbers_of(truth)) for box in found]
                best = far.index(min(far))
            chosen.append((cell, best, overlaps[best]))
            x, y, root_w, root_h, confidence = numbers[5 * best : 5 * best + 5]
            true_x = (truth[0] + truth[2]) / 2 * cells[1] - column
            true_y = (truth[1] + truth[3]) / 2 * cells[0] - row
            sums["xy"] += (x - true_x) ** 2 + (y - true_y) ** 2
            sums["wh"] += (root_w - math.sqrt(truth[2] - truth[0])) ** 2 + (root_h - math.sqrt(truth[3] - truth[1])) ** 2
            sums["object"] += (confidence - overlaps[best]) ** 2
            sums["no_object"] += sum(c**2 for j, c in enumerate(confidences) if j != best)
            for k in range(K):
                sums["class"] += (numbers[5 * B + k] - (1.0 if k == labels[i] else 0.0)) ** 2
    return sums, chosen
