"""Maps of class and instance ids."""

import numpy as np
import pytest

from cnnvision.data.faults import RecordError
from cnnvision.data.maps.class_ids import check_map_size, class_map, colour_text, instance_masks, instance_table, masks_of
from cnnvision.types import IGNORE

RAW = np.array([[0, 255, 7], [7, 0, 0]], np.uint8)


def test_values_go_through_the_table():
    mapped = class_map(RAW, {0: 1, 255: 0, 7: IGNORE}, (2, 3), "x")
    np.testing.assert_array_equal(mapped, [[1, 0, 255], [255, 1, 1]])
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(
        class_map(RAW.astype(np.uint16) * 9, {0: 0, 2295: 1, 63: 2}, (2, 3), "x"), [[0, 1, 2], [2, 0, 0]]
    )


def test_a_table_may_have_values_beyond_those_of_the_file():
    np.testing.assert_array_equal(class_map(RAW, {0: 0, 7: 1, 255: 2, 300: 3}, (2, 3), "x"), [[0, 2, 1], [1, 0, 0]])


def test_colours_go_through_the_table():
    colours = np.array([[[0, 0, 0], [1, 2, 3]], [[255, 255, 255], [3, 2, 1]]], np.uint8)
    table = {0xFFFFFF: IGNORE, 0x010203: 0, 0x030201: 4, 0: 0}
    mapped = class_map(colours, table, (2, 2), "x")
    np.testing.assert_array_equal(mapped, [[0, 0], [255, 4]])
    assert mapped.dtype == np.uint8 and colour_text(0x01FF03) == "(1, 255, 3)"
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 3, (20, 30, 3), np.uint8) * 127
    table = {(r << 16 | g << 8 | b) * 127: 9 * r + 3 * g + b for r in range(3) for g in range(3) for b in range(3)}
    np.testing.assert_array_equal(class_map(colours, table, (20, 30), "x"), colours // 127 @ [9, 3, 1])
    del table[0x7F00FE], table[0xFEFEFE]
    with pytest.raises(
        RecordError, match=r"colours that .*\(found '\(127, 0, 254\) \(254, 254, 254\)'\).*Known colours: \(0, 0, 0\),"
    ):
        class_map(colours, table, (20, 30), "x")
    with pytest.raises(RecordError, match="not as large"):
        class_map(colours, table, (30, 20), "x")


def test_unknown_values_are_named():
    with pytest.raises(RecordError, match=r"x, semantic: .*no class \(found '7 255'\).*Known values: 0, 1"):
        class_map(RAW, {0: 0, 1: 1}, (2, 3), "x")


def test_how_255_is_ignored_is_said_where_it_is_unknown():
    table, colours = {0: 0, 7: 1}, np.full((2, 3, 3), 255, np.uint8)
    with pytest.raises(RecordError, match=r"Known values: 0, 7\. If 255 stands for .* not count, say so\. .*1 bit holds 0"):
        class_map(RAW, table, (2, 3), "x", "say so")
    for raw, known, ignoring in ((RAW, table, ""), (RAW, {0: 0, 255: 1}, "say so"), (colours, table, "say so")):
        with pytest.raises(RecordError) as caught:
            class_map(raw, known, (2, 3), "x", ignoring)
        assert "not count" not in str(caught.value)


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
    np.testing.assert_array_equal(masks_of(RAW, np.array([255, 7])), [RAW == 255, RAW == 7])
    assert masks.dtype == bool and instance_masks(RAW, 0, (2, 3), "x").shape == (0, 2, 3)


def test_the_objects_of_a_map():
    ids, boxes, areas = instance_table(np.array([[0, 9, 0], [3, 9, 9], [3, 0, 3]], np.uint16))
    assert ids.tolist() == [3, 9] and boxes.tolist() == [[0, 1, 3, 3], [1, 0, 3, 2]] and areas.tolist() == [3, 3]
    assert boxes.dtype == areas.dtype == np.float32
    ids, boxes, areas = instance_table(np.zeros((2, 3), np.uint8))
    assert ids.shape == areas.shape == (0,) and boxes.shape == (0, 4) and boxes.dtype == np.float32
