"""PASCAL VOC's rule for one class as its development kit tells it: one detection after the other."""

import numpy as np

from tests.reference.boxes import iou


def precision_recall(truths, images, boxes, scores, overlap):
    """Precision and recall after each detection, the best first; those of difficult objects are passed over."""
    taken = [np.zeros(len(truth.boxes), bool) for truth in truths]
    right = []
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        truth, gone = truths[images[place]], taken[images[place]]
        found = [float(iou(boxes[place], box)) for box in truth.boxes]
        best = int(np.argmax(found)) if found else -1
        if best < 0 or found[best] < overlap:
            right.append(False)
        elif not truth.difficult[best]:
            right.append(not gone[best])
            gone[best] = True
    count = sum(int((~truth.difficult).sum()) for truth in truths)
    hits = [sum(right[: k + 1]) for k in range(len(right))]
    return [hit / (k + 1) for k, hit in enumerate(hits)], [hit / count for hit in hits]
