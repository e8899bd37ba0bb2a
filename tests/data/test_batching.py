"""data/batching.py: everything padded is marked, and everything wrong is named."""

import dataclasses

import numpy as np
import pytest

from cnnvision.data.augment import Row, apply, resized
from cnnvision.data.batching import crop_mask, empty_batch, make_batch, validate
from cnnvision.errors import ConfigError
from cnnvision.inputs import InputSpec
from cnnvision.types import IGNORE, ClassTarget, Objects, ObjectTarget, SemanticTarget
from tests.data.drawn import CLASSES, SEMANTIC, draw

SIZE = (64, 96)


def spec_of(target="objects", **changes):
    return InputSpec(**{"sizes": (SIZE,), "target": target, "resize": "letterbox", "max_objects": 4, **changes})


def rows_of(spec, seeds, label=None):
    rows = []
    for seed in seeds:
        example = draw(f"image {seed}", seed, label=label)
        rows.append(apply(resized(example.size, SIZE, spec), example, seed))
    return rows


def objects_of(boxes, labels=None, crowd=None, masks=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int32) if labels is None else np.array(labels, np.int32)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd)
    return Objects(boxes, labels, crowd, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), masks)


def row_of(**fields):
    return Row(
        **{"index": 0, "image": np.zeros((*SIZE, 3), np.uint8), "transform": np.eye(2, 3, dtype=np.float32), **fields}
    )


# Padding ------------------------------------------------------------------------------------------------------------------


def test_images_lie_at_the_top_left_and_padding_is_zero():
    spec = spec_of()
    rows = rows_of(spec, [0, 1, 2])
    batch, dropped = make_batch([*rows[:2], None, rows[2]], spec, SIZE)
    assert dropped == 0 and batch.image.shape == (4, *SIZE, 3)
    np.testing.assert_array_equal(batch.valid, [True, True, False, True])
    np.testing.assert_array_equal(batch.index, [0, 1, 0, 2])
    for i, row in zip([0, 1, 3], rows, strict=True):
        height, width = batch.size[i]
        np.testing.assert_array_equal(batch.image[i, :height, :width], row.image)
        assert not batch.image[i, height:].any() and not batch.image[i, :, width:].any()
        np.testing.assert_array_equal(batch.transform[i], row.transform)
    assert not batch.image[2].any() and not batch.size[2].any()
    np.testing.assert_array_equal(batch.transform[2], [[1, 0, 0], [0, 1, 0]])
    validate(batch, len(CLASSES))


def test_objects_are_padded_and_marked():
    spec = spec_of(max_objects=5)
    rows = rows_of(spec, [2, 4, 1])  # three objects, none, two
    target = make_batch([*rows, None], spec, SIZE)[0].target
    np.testing.assert_array_equal(target.valid.sum(1), [3, 0, 2, 0])
    for i, row in enumerate(rows):
        count = len(row.objects.boxes)
        assert target.valid[i, :count].all()
        np.testing.assert_array_equal(target.boxes[i, :count], row.objects.boxes)
        np.testing.assert_array_equal(target.labels[i, :count], row.objects.labels)
        assert not target.boxes[i, count:].any() and not target.labels[i, count:].any()
    assert target.masks is None


def test_dtypes_and_shapes_are_declared_ones():
    for spec in (spec_of(mask_side=14), spec_of("class"), spec_of("semantic"), spec_of(objects="largest", max_objects=9)):
        batch = make_batch(rows_of(spec, [0, 1]), spec, SIZE)[0]
        empty = empty_batch(spec, 2)
        validate(batch, len(CLASSES), len(SEMANTIC))
        validate(empty, len(CLASSES), len(SEMANTIC))
        for name in ("image", "size", "valid", "index", "transform"):
            assert getattr(batch, name).shape == getattr(empty, name).shape
            assert getattr(batch, name).dtype == getattr(empty, name).dtype
        for field in dataclasses.fields(batch.target):
            one, other = getattr(batch.target, field.name), getattr(empty.target, field.name)
            assert (one is None) == (other is None) and (one is None or (one.shape, one.dtype) == (other.shape, other.dtype))
        assert not empty.valid.any()


def test_more_objects_than_room():
    """The smallest goes, and is counted; the others keep their order."""
    boxes = [[0, 0, 10, 10], [0, 0, 2, 2], [5, 5, 30, 30], [0, 0, 5, 6]]
    spec = spec_of(max_objects=3)
    batch, dropped = make_batch([row_of(objects=objects_of(boxes, [0, 1, 2, 1]))] * 2, spec, SIZE)
    assert dropped == 2
    np.testing.assert_array_equal(batch.target.labels, [[0, 2, 1]] * 2)
    assert batch.target.valid.all()


def test_largest_alone():
    spec = spec_of(objects="largest", max_objects=7)
    rows = rows_of(spec, [2, 4])
    target = make_batch([*rows, None], spec, SIZE)[0].target
    assert target.boxes.shape == (3, 1, 4)
    areas = np.prod(rows[0].objects.boxes[:, 2:] - rows[0].objects.boxes[:, :2], axis=1)
    np.testing.assert_array_equal(target.boxes[0, 0], rows[0].objects.boxes[areas.argmax()])
    np.testing.assert_array_equal(target.valid[:, 0], [True, False, False])


def test_crowds_are_marked():
    spec = spec_of()
    batch, _ = make_batch([row_of(objects=objects_of([[0, 0, 5, 5], [1, 1, 9, 9]], crowd=[False, True]))], spec, SIZE)
    np.testing.assert_array_equal(batch.target.crowd, [[False, True, False, False]])
    np.testing.assert_array_equal(batch.target.valid, [[True, True, False, False]])


def test_class_of_the_image_or_of_its_largest_object():
    spec = spec_of("class")
    own = rows_of(spec, [2], label=1)
    example = draw("image 2", 2)
    of_object = rows_of(spec, [2, 4])
    target = make_batch([*own, *of_object, None], spec, SIZE)[0].target
    np.testing.assert_array_equal(target.valid, [True, True, False, False])
    np.testing.assert_array_equal(target.labels, [1, example.objects.labels[example.objects.largest()], 0, 0])


def test_semantic_padding_is_ignored():
    spec = spec_of("semantic")
    rows = rows_of(spec, [0, 1])
    batch, _ = make_batch([*rows, None], spec, SIZE)
    for i, row in enumerate(rows):
        height, width = batch.size[i]
        np.testing.assert_array_equal(batch.target.labels[i, :height, :width], row.semantic)
        assert (batch.target.labels[i, height:] == IGNORE).all() and (batch.target.labels[i, :, width:] == IGNORE).all()
    assert (batch.target.labels[2] == IGNORE).all()


@pytest.mark.parametrize("side", [1, 7, 28])
def test_masks_are_cropped_to_their_boxes(side):
    """The left half of a box of 8 × 12 pixels is the left half of every mask; where the middle cuts a cell, it counts."""
    mask = np.zeros(SIZE, bool)
    mask[20:32, 10:14] = True
    cropped = crop_mask(mask, np.array([10, 20, 18, 32], np.float32), side)
    assert cropped.shape == (side, side) and cropped.dtype == bool
    columns = np.arange(side)
    expected = (columns + 0.5) / side <= 0.5
    clear = np.abs((columns + 0.5) / side - 0.5) > 0.5 / side
    np.testing.assert_array_equal(cropped[:, clear], np.broadcast_to(expected[clear], (side, clear.sum())))


@pytest.mark.parametrize("side", [7, 28, 112])
def test_a_mask_that_is_thinner_than_half_a_cell_stays(side):
    mask = np.eye(500, dtype=bool)
    cropped = crop_mask(mask, np.array([0, 0, 500, 500], np.float32), side)
    assert cropped.diagonal().all() and cropped.sum() < 3 * side


def test_masks_of_a_batch():
    spec = spec_of(mask_side=8)
    rows = rows_of(spec, [2, 4])
    target = make_batch([*rows, None], spec, SIZE)[0].target
    assert target.masks.shape == (3, 4, 8, 8)
    assert target.masks[0, :3, 1:-1, 1:-1].all()  # rectangles fill their boxes, but for what lies beyond at the rim
    assert not target.masks[1:].any() and not target.masks[0, 3].any()


def test_what_the_data_do_not_have():
    bare = row_of(objects=objects_of([[0, 0, 5, 5]]))
    without = make_batch([row_of(objects=objects_of([]))], spec_of(mask_side=7), SIZE)[0].target  # no object, no mask
    assert not without.valid.any() and not without.masks.any()
    for spec, row, words in [
        (spec_of(), row_of(), "boxes"),
        (spec_of(mask_side=7), bare, "instance masks"),
        (spec_of("semantic"), bare, "semantic maps"),
    ]:
        with pytest.raises(ConfigError, match=f"learns {words}, and the data have none"):
            make_batch([row], spec, SIZE)


def test_images_larger_than_the_input():
    with pytest.raises(ValueError, match=r"row 1 is \(65, 96\) pixels, more than the input's \(64, 96\)"):
        make_batch([None, row_of(image=np.zeros((65, 96, 3), np.uint8), objects=objects_of([]))], spec_of(), SIZE)


# Validation ---------------------------------------------------------------------------------------------------------------


def good(kind="objects"):
    spec = spec_of(kind, mask_side=6 if kind == "objects" else 0)
    return make_batch([*rows_of(spec, [2, 1]), None], spec, SIZE)[0]


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


WRONG = [
    ("image", lambda x: x.astype(np.float32), r"batch.image: float32 .*must be uint8"),
    ("image", lambda x: x[..., :1], r"batch.image: uint8 \(3, 64, 96, 1\), must be uint8 \(any, any, any, 3\)"),
    ("size", lambda x: x.astype(np.int64), r"batch.size: int64"),
    ("size", lambda x: changed(x, (0, 1), 97), r"batch.size: 97 at \(0, 1\), must be 1 …"),
    ("size", lambda x: changed(x, (1, 0), 0), r"batch.size: 0 at \(1, 0\)"),
    ("valid", lambda x: x[:2], r"batch.valid: bool \(2,\), must be bool \(3\)"),
    ("index", lambda x: changed(x, 1, -1), r"batch.index: -1 at \(1,\), must be >= 0"),
    ("transform", lambda x: changed(x, (0, 1, 2), np.inf), r"batch.transform: inf at \(0, 1, 2\), must be finite"),
]

WRONG_TARGET = [
    ("objects", "boxes", lambda x: changed(x, (0, 0, 2), np.nan), r"target.boxes: nan at \(0, 0, 2\), must be finite"),
    ("objects", "boxes", lambda x: changed(x, (0, 0, 2), x[0, 0, 0]), r"target.boxes: .* must be x1 < x2"),
    ("objects", "boxes", lambda x: changed(x, (0, 1, 0), -0.5), r"target.boxes: -0.5 at \(0, 1, 0\), must be within"),
    ("objects", "boxes", lambda x: changed(x, (0, 1, 3), 64.5), r"target.boxes: 64.5 .*within the input"),
    ("objects", "labels", lambda x: changed(x, (1, 0), 3), r"target.labels: 3 at \(1, 0\), must be in \[0, 3\) where valid"),
    ("objects", "labels", lambda x: x.astype(np.int64), r"target.labels: int64"),
    ("objects", "crowd", lambda x: changed(x, (2, 0), True), r"target.crowd: True at \(2, 0\), must be False"),
    ("objects", "masks", lambda x: x.astype(np.uint8), r"target.masks: uint8"),
    ("objects", "masks", lambda x: x[..., :3], r"target.masks: bool \(3, 4, 6, 3\)"),
    ("class", "labels", lambda x: changed(x, 0, -1), r"target.labels: -1 at \(0,\)"),
    ("semantic", "labels", lambda x: changed(x, (0, 0, 0), 4), r"target.labels: 4 at \(0, 0, 0\), must be in \[0, 4\)"),
    ("semantic", "weights", lambda x: np.full((3, *SIZE), -1, np.float32), r"target.weights: -1.0"),
]


@pytest.mark.parametrize(("field", "change", "message"), WRONG)
def test_wrong_batches_are_named(field, change, message):
    batch = good()
    with pytest.raises(ValueError, match=message):
        validate(batch.replace(**{field: change(getattr(batch, field))}), len(CLASSES))


@pytest.mark.parametrize(("kind", "field", "change", "message"), WRONG_TARGET)
def test_wrong_targets_are_named(kind, field, change, message):
    batch = good(kind)
    target = batch.target.replace(**{field: change(getattr(batch.target, field))})
    with pytest.raises(ValueError, match=message):
        validate(batch.replace(target=target), len(CLASSES), len(SEMANTIC))


def test_what_stands_beneath_padding_may_be_anything():
    batch = good()
    target = batch.target.replace(labels=changed(batch.target.labels, (2, 0), 99))
    validate(batch.replace(target=target), len(CLASSES))
    validate(batch.replace(target=None), len(CLASSES))


def test_something_else_for_a_target():
    with pytest.raises(ValueError, match="a dict is no target"):
        validate(good().replace(target={}), 3)


def test_targets_are_of_their_types():
    for kind, expected in (("class", ClassTarget), ("objects", ObjectTarget), ("semantic", SemanticTarget)):
        assert isinstance(good(kind).target, expected)
