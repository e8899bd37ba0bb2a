"""Remarks on the semantic maps of a split."""

import numpy as np
import pytest

from cnnvision.data.doctor import examine
from cnnvision.data.maps.notes import notes_of_maps
from tests.data.planted import coco_set, encoded, masks_set, two_fields, write


def counts(*pixels, ignored=0):
    values = np.zeros(256, np.int64)
    values[: len(pixels)] = pixels
    values[255] = ignored
    return values


def notes(names, *maps):
    return notes_of_maps("train", names, [(f"{number}.png", values) for number, values in enumerate(maps)])


def test_what_is_usual_is_not_remarked_on():
    assert notes(("a", "b"), counts(5, 5), counts(5, 1, ignored=4)) == []
    assert notes(("a",), counts(5), counts(9)) == [], "there is but one class"
    assert notes(("a", "b")) == notes((), counts(), counts()) == notes(("a", "b"), counts(ignored=9)) == []
    assert notes(("a", "b"), counts(5, 5)) == [], "of one map alone nothing can be said about how many have a class"


def test_maps_of_one_class_are_counted():
    empty, other, both = counts(10), counts(0, 9, ignored=1), counts(5, 5)
    assert notes(("a", "b"), empty, both, other, empty, both, counts(ignored=10)) == [
        "train: semantic maps with one class alone: 3 of 5 (2 all a, 1 all b)."
    ]


def test_classes_that_hardly_occur():
    many, rest = counts(10**6, 10**6, 0, 100), counts(10**6, 10**6, 0, 299)
    assert notes(("a", "b", "c", "d"), many, rest) == [
        "train: classes without a pixel: c.",
        "train: classes with less than 0.01% of the pixels (their number): d (399).",
    ]
    assert notes(("a", "b", "c", "d"), many, counts(10**6, 10**6, 0, 301))[1:] == []
    assert notes(("a", "b", "c"), counts(5, 5), counts(5, 5, 5), counts(5, 5, ignored=7)) == [
        "train: classes in one image alone: c (1.png)."
    ]
    (note,) = notes(tuple(map(str, range(40))), counts(1, 1), counts(1, 1))
    assert note.endswith("20, 21 ….")


@pytest.fixture
def odd(tmp_path):
    """Three maps of walls and cells, one of walls alone, and one pixel of dirt."""
    root = masks_set(tmp_path)
    write(root / "classes.csv", "value,name\n0,wall\n255,cell\n3,dirt\n4,moss\n9,ignore\n")
    write(root / "train" / "mask" / "0.png", encoded(two_fields(left=0, right=0)))
    values = two_fields()
    values[0, 0] = 3
    write(root / "train" / "mask" / "1.png", encoded(values))
    return root


def test_the_doctor_remarks_on_each_split(odd):
    report = examine(f"masks:{odd}", progress=False)
    assert report.healthy and not report.problems
    assert report.notes == (
        "train: semantic maps with one class alone: 1 of 3 (1 all wall).",
        "train: classes without a pixel: moss.",
        "train: classes in one image alone: dirt (train/image/1.png).",
        "val: classes without a pixel: dirt, moss.",
    )


def test_images_of_coco_without_a_map_are_not_remarked_on(tmp_path):
    root = coco_set(tmp_path)
    write(root / "annotations" / "semantic_labels.txt", "0: wall\n255: cell\n")
    write(root / "annotations" / "semantic_train2017" / "10.png", encoded(two_fields()))
    assert not any("semantic" in note or "classes" in note for note in examine(f"coco:{root}", progress=False).notes)
