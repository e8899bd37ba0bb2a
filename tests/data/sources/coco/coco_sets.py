"""What tests of COCO's layout share."""

import numpy as np

from cnnvision.data.sources import open_source

JSON = "annotations/instances_train2017.json"


def opened(root, split="train", classes=None):
    return open_source(f"coco:{root}", split, classes)


def rectangle(x1, y1, x2, y2):
    mask = np.zeros((30, 40), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def told(source, **fields):
    """The one problem of a source, whose fields are these (`words`: some of its message)."""
    (problem,) = source.problems
    assert fields.pop("words", "") in problem.message and problem.cure
    assert {key: getattr(problem, key) for key in fields} == fields
    return problem
