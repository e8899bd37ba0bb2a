"""Maps of class and instance ids."""

import numpy as np
import pytest

from cnnvision.data.faults import RecordError
from cnnvision.data.maps import check_map_size, class_map, instance_masks
from cnnvision.types import IGNORE

RAW = np.array([[0, 255, 7], [7, 0, 0]], np.uint8)


def test_values_go_through_the_table():
    mapped = class_map(RAW, {0: 1, 255: 0, 7: IGNORE}, (2, 3), "x")
    np.testing.assert_array_equal(mapped, [[1, 0, 255], [255, 1, 1]])
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(
        class_map(RAW.astype(np.uint16) * 9, {0: 0, 2295: 1, 63: 2}, (2, 3), "x"), [[0, 1, 2], [2, 0, 0]]
    )


def test_unknown_values_are_named():
    with pytest.raises(RecordError, match=r"x, semantic: .*no class \(found '7 255'\).*Known values: 0, 1"):
        class_map(RAW, {0: 0, 1: 1}, (2, 3), "x")


def test_a_map_of_another_size_than_its_image():
    check_map_size((2, 3), (2, 3), "x", "semantic")
    for shape in ((3, 2), (2, 4), (1, 3)):
        with pytest.raises(RecordError, match=r"x, semantic: .*image of 3 x 2 pixels") as caught:
            check_map_size(shape, (2, 3), "x", "semantic")
        assert caught.value.problem.value == f"{shape[1]} x {shape[0]}"
    with pytest.raises(RecordError):
        class_map(RAW, {0: 0}, (3, 2), "x")
    with pytest.raises(RecordError, match="instances"):
        instance_masks(RAW, 1, (3, 2), "x")


def test_instance_masks():
    masks = instance_masks(np.array([[0, 2], [1, 2]], np.uint16), 3, (2, 2), "x")
    np.testing.assert_array_equal(masks, [[[0, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 0], [0, 0]]])
    assert masks.dtype == bool and instance_masks(RAW, 0, (2, 3), "x").shape == (0, 2, 3)
