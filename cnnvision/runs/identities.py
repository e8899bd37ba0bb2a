"""The numbers of images and classes in files for other programs, where the data set itself has none at hand."""

import re
from collections.abc import Sequence

from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.task import DataInfo


def category_ids(info: DataInfo) -> tuple[int, ...]:
    """The id of each class: that of the data set that was trained on; COCO's, where all names are COCO's; else from 1 on."""
    if info.category_ids:
        return info.category_ids
    if COCO_IDS.keys() >= set(info.classes):
        return tuple(COCO_IDS[name] for name in info.classes)
    return tuple(range(1, len(info.classes) + 1))


def image_ids(files: Sequence[str]) -> dict[str, int]:
    """The id of each image file: the number that COCO's file names end in (000000000139.jpg, COCO_val2014_000000000139.jpg),
    where all have one and no two the same; else from 1 on, in their order.
    """
    found = [re.search(r"(?<!\d)(\d{12})\.\w+$", file) for file in files]
    numbers = [int(match[1]) for match in found if match]
    if len(set(numbers)) < len(files):
        numbers = range(1, len(files) + 1)
    return dict(zip(files, numbers, strict=True))
