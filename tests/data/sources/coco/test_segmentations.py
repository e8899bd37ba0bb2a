"""COCO's codings of masks."""

import itertools
import json

import numpy as np
import pytest

from cnnvision.data.sources.coco.segmentations import Segmentations, polygon_runs
from cnnvision.data.sources.coco.writer import run_lengths
from cnnvision.ops.run_lengths import mask_of_runs, runs_of_text
from tests.conftest import ROOT

GOLDENS = json.loads((ROOT / "tests" / "goldens" / "coco_rle.json").read_text())["cases"]


def drawn(polygon, size=(5, 6)):
    return mask_of_runs(polygon_runs(np.array(polygon, float), size), size)


def rectangle(x1, y1, x2, y2, size=(5, 6)):
    mask = np.zeros(size, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def slow_text(counts):
    """The coding as it is described, a number and a bit group at a time."""
    text = ""
    for i, count in enumerate(counts):
        rest = int(count) - (int(counts[i - 2]) if i > 2 else 0)
        while True:
            group, rest = rest & 31, rest >> 5
            done = rest == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


@pytest.mark.parametrize("number", range(len(GOLDENS)))
def test_as_others_draw_them(number):
    case = GOLDENS[number]
    polygons = [np.array(polygon, float) for polygon in case["polygons"]]
    mask = Segmentations.pack([(polygons, False)]).mask(0, tuple(case["size"]))
    assert run_lengths(mask)["counts"] == case["counts"]
    assert runs_of_text(case["text"]).tolist() == case["counts"]
    np.testing.assert_array_equal(mask_of_runs(np.array(case["counts"]), tuple(case["size"])), mask)


def test_polygons_by_hand():
    # A column's centre is passed where the walk goes from step 5 c + 2 to 5 c + 3; a row begins at the pixel whose centre
    # is not above the walk.
    np.testing.assert_array_equal(drawn([1, 1, 3, 1, 3, 4, 1, 4]), rectangle(1, 1, 3, 4))
    np.testing.assert_array_equal(drawn([1, 4, 3, 4, 3, 1, 1, 1]), rectangle(1, 1, 3, 4))  # the other way round
    np.testing.assert_array_equal(drawn([1.4, 1.4, 3.4, 1.4, 3.4, 3.4, 1.4, 3.4]), rectangle(1, 1, 3, 3))
    np.testing.assert_array_equal(drawn([1.6, 1.6, 3.6, 1.6, 3.6, 3.6, 1.6, 3.6]), rectangle(2, 2, 4, 4))
    np.testing.assert_array_equal(drawn([-4, -4, 9, -4, 9, 9, -4, 9]), np.ones((5, 6), bool))
    np.testing.assert_array_equal(drawn([7, 1, 9, 1, 9, 4, 7, 4]), np.zeros((5, 6), bool))
    np.testing.assert_array_equal(drawn([2, 2, 2, 2, 2, 2]), np.zeros((5, 6), bool))
    # The diagonal from (0, 0) to (5, 5): column c holds the rows from c on, its own pixel among them.
    np.testing.assert_array_equal(drawn([0, 0, 5, 5, 0, 5], (5, 5)), np.tri(5, dtype=bool))


def test_a_bow_tie_is_filled_where_the_walk_is_passed_an_odd_number_of_times():
    mask = drawn([0, 0, 6, 6, 6, 0, 0, 6], (6, 6))
    assert mask[3, 0] and mask[3, 5] and not mask[0, 3] and not mask[5, 3]


def test_parts_are_united():
    overlapping = [np.array(p, float) for p in ([0, 0, 3, 0, 3, 3, 0, 3], [2, 2, 5, 2, 5, 5, 2, 5])]
    mask = Segmentations.pack([(overlapping, False)]).mask(0, (5, 6))
    np.testing.assert_array_equal(mask, rectangle(0, 0, 3, 3) | rectangle(2, 2, 5, 5))


def test_many_objects_in_few_arrays():
    size = (5, 6)
    square, other = np.array([1, 1, 3, 1, 3, 4, 1, 4.0]), np.array([0, 0, 5, 0, 5, 2, 0, 2.0])
    counts = np.array(run_lengths(rectangle(4, 2, 6, 5))["counts"], float)
    packed = Segmentations.pack([([], False), ([square, other], False), ([counts], True), ([], False), ([other], False)])
    assert packed.mask(0, size) is None and packed.mask(3, size) is None
    np.testing.assert_array_equal(packed.mask(1, size), rectangle(1, 1, 3, 4) | rectangle(0, 0, 5, 2))
    np.testing.assert_array_equal(packed.mask(2, size), rectangle(4, 2, 6, 5))
    np.testing.assert_array_equal(packed.mask(4, size), rectangle(0, 0, 5, 2))
    assert [len(packed.parts(index)) for index in range(5)] == [0, 2, 1, 0, 1]
    assert Segmentations.pack([([], False)]).mask(0, size) is None


def test_run_lengths_by_hand():
    np.testing.assert_array_equal(mask_of_runs(np.array([2, 1, 1, 2]), (2, 3)), [[0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(mask_of_runs(np.array([0, 4]), (2, 2)), np.ones((2, 2)))
    np.testing.assert_array_equal(mask_of_runs(np.array([1, 0, 3]), (2, 2)), np.zeros((2, 2)))


def test_text_by_hand():
    # 5 and 6 are a group each; 40 is 01000 with more to come and then 1; the fourth number is told as 3 - 6 = -3, 11101.
    assert runs_of_text("56").tolist() == [5, 6]
    assert runs_of_text(chr(48 + 8 + 32) + chr(48 + 1)).tolist() == [40]
    assert runs_of_text("568" + chr(48 + 0b11101)).tolist() == [5, 6, 8, 3]
    assert runs_of_text("").tolist() == []


def test_random_texts():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.integers(0, 10 ** rng.integers(1, 7), rng.integers(1, 30))
        assert runs_of_text(slow_text(counts)).tolist() == counts.tolist()


@pytest.mark.parametrize("text", ["/", "p", "ä", "€", "\ud800", "5X", "5" + "P" * 9 + "1", "\n"])
def test_other_text_is_an_error(text):
    with pytest.raises(ValueError, match=r"other characters|too long"):
        runs_of_text(text)


def test_random_masks_come_back():
    rng = np.random.default_rng(1)
    for height, width in itertools.product((1, 2, 7), (1, 3, 8)):
        mask = rng.random((height, width)) < 0.5
        counts = run_lengths(mask)["counts"]
        for runs in (np.array(counts, float), runs_of_text(slow_text(counts))):
            np.testing.assert_array_equal(mask_of_runs(runs, mask.shape), mask)
