"""What tests of augmentation, batching and the pipeline share.

A source in memory: rectangles on noise, of many sizes, with everything a source can have; ramps, whose colours tell places;
and one augmentation of every kind.
"""

import numpy as np

from cnnvision.data import order
from cnnvision.data.augment import sample
from cnnvision.data.options import AugmentSettings
from cnnvision.errors import DataError
from cnnvision.inputs import InputSpec
from cnnvision.types import Example, Objects

CLASSES = ("red", "green", "blue")
SEMANTIC = ("ground", "red", "green", "blue")


class Drawn:
    """`count` images of random sizes with up to three filled rectangles each; every fifth image has none.

    Args:
        count: images.
        broken: indices that raise DataError when their image is read.
        labelled: whether images have a class of their own.
    """

    name, split, classes, semantic_classes = "drawn", "train", CLASSES, SEMANTIC
    area_ranges, problems = {}, []

    def __init__(self, count=20, broken=(), labelled=False):
        self.ids = tuple(f"image {i}" for i in range(count))
        self.broken, self.labelled, self.reads = frozenset(broken), labelled, 0

    def __len__(self):
        return len(self.ids)

    def read(self, index, image=True, masks=False):
        self.reads += 1
        if image and index in self.broken:
            raise DataError(f"{self.ids[index]} is broken")
        return draw(self.ids[index], index, image, masks, index % 3 if self.labelled else None)


def draw(name, seed, image=True, masks=True, label=None):
    """One example. Rectangles do not overlap: each has a horizontal band of its own."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(60, 120, 2))
    count = 0 if seed % 5 == 4 else 1 + seed % 3
    boxes = []
    for band in range(count):
        top, bottom = band * height // 3 + 1, (band + 1) * height // 3 - 1
        x1, x2 = np.sort(rng.choice(np.arange(2, width - 8), 2, replace=False))
        boxes.append((x1, top, max(x2, x1 + 6), bottom))
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = rng.integers(0, len(CLASSES), count).astype(np.int32)
    pixels = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    stack = np.zeros((count, height, width), bool)
    semantic = np.zeros((height, width), np.uint8)
    for k, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        stack[k, y1:y2, x1:x2] = True
        pixels[stack[k]] = 40
        pixels[stack[k], labels[k]] = 250
        semantic[stack[k]] = labels[k] + 1
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    objects = Objects(boxes, labels, np.zeros(count, bool), area, stack if masks in (True, "objects") else None)
    numbers = (stack * np.arange(1, count + 1)[:, None, None]).sum(axis=0, dtype=np.int32)
    maps = (semantic if masks not in (False, "objects") else None, numbers if masks == "cells" else None)
    return Example(name, (height, width), pixels if image else None, label, objects, *maps)


FITS = ("stretch", "letterbox", "crop")
GEOMETRY = {
    "flip": AugmentSettings(flip=1.0),
    "flip_vertical": AugmentSettings(flip_vertical=1.0),
    "crop": AugmentSettings(crop_area=(0.3, 0.9), crop_aspect=(0.7, 1.4)),
    "zoom out": AugmentSettings(crop_area=(1.2, 4.0)),
    "translate": AugmentSettings(translate=0.3),
    "rotate": AugmentSettings(rotate=40.0),
    "all": AugmentSettings(0.5, 0.5, (0.4, 2.0), (0.75, 1.33), 0.1, 15.0),
    "canvas": AugmentSettings(zoom_out=(1.2, 2.0), zoom_out_probability=1.0, crop_area=(0.4, 0.8)),
    "iou": AugmentSettings(iou_crop=1.0),
    "ssd": AugmentSettings(flip=0.5, rotate=5.0, zoom_out=(1.0, 3.0), iou_crop=1.0),
}


def spec_of(resize="stretch", out=(64, 96)):
    return InputSpec(sizes=(out,), target="objects", resize=resize, max_objects=8)


def ramp(height, width):
    """Red is x / width, green y / height, of 250."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.round(np.stack([250 * x / width, 250 * y / height, 0 * x], axis=-1)).astype(np.uint8)


def bare(image):
    return Example("ramp", image.shape[:2], image)


def drawn_with(options, example, out, fit, draws=12, keep=None):
    spec, boxes = spec_of(fit, out), None if example.objects is None else example.objects.boxes
    for i in range(draws):
        yield sample(order.example_rng(0, i, example.id), options, example.size, out, spec, keep, boxes)
