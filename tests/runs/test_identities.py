"""The numbers of images and classes in files for other programs."""

import pytest

from cnnvision.runs.identities import category_ids, image_ids
from cnnvision.task import DataInfo


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (("val2017/000000000139.jpg", "val2017/000000581781.jpg"), [139, 581781]),
        (("COCO_val2014_000000000042.jpg",), [42]),
        (("000000000139.jpg", "cat.jpg"), [1, 2]),
        (("a/000000000139.jpg", "b/000000000139.jpg"), [1, 2]),
        (("139.jpg", "0000000000139.jpg"), [1, 2]),
        (("000000000139.jpg.png",), [1]),
    ],
)
def test_the_number_of_coco_s_names_or_the_place(files, ids):
    assert list(image_ids(files).items()) == list(zip(files, ids, strict=True))


def test_the_ids_of_classes():
    assert category_ids(DataInfo(("stop sign", "person"), category_ids=(4, 2))) == (4, 2)
    assert category_ids(DataInfo(("stop sign", "person"))) == (13, 1)
    assert category_ids(DataInfo(("person", "drone"))) == (1, 2)
