"""sheets.py, curves.py and drawing.py: what must be seen is there, where it must be, in the colour it must have."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnnvision.pictures import drawing, overlays, sheets
from cnnvision.types import (
    IGNORE,
    Batch,
    ClassPrediction,
    ClassTarget,
    DetectionPrediction,
    LocalizationPrediction,
    ObjectTarget,
    SegmentationPrediction,
    SemanticTarget,
)

CLASSES = ("cat", "a dog with a very long name indeed, so long that it is cut", "été")
SIDE = 100
SCALE = 3
"""100-pixel inputs are enlarged three times: to the least whole multiple from 220 pixels on."""


def batch_of(target, count=3, size=(SIDE, SIDE)):
    return Batch(
        image=np.full((count, SIDE, SIDE, 3), 60, np.uint8),
        size=np.tile(np.array(size, np.int32), (count, 1)),
        valid=np.ones(count, bool),
        index=np.arange(count, dtype=np.int32),
        transform=np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
        core=np.tile(np.array([0, 0, size[1], size[0]], np.int32), (count, 1)),
        target=target,
    )


def classes_of(labels, valid=None):
    labels = np.array(labels, np.int32)
    return ClassTarget(labels=labels, valid=np.ones(len(labels), bool) if valid is None else np.array(valid))


def objects_of(boxes, labels, **fields):
    boxes, labels = np.array(boxes, np.float32), np.array(labels, np.int32)
    none = np.zeros(labels.shape, bool)
    return ObjectTarget(**{"boxes": boxes, "labels": labels, "valid": ~none, "crowd": none, **fields})


def scores_of(best, k=3):
    return (0.05 + 0.85 * np.eye(k, dtype=np.float32))[np.array(best)]


def tile_of(sheet, i, pictures=1):
    """The enlarged input of the i-th of three tiles side by side, and the colour of its frame; it may be several pictures
    wide."""
    side = SCALE * SIDE
    top, left = sheets.GAP, sheets.GAP + i * (side + 2 * sheets.FRAME + sheets.GAP)
    width = pictures * (side + sheets.FRAME) - sheets.FRAME
    inner = sheet[top + sheets.FRAME :, left + sheets.FRAME :][:side, :width]
    return inner, tuple(int(value) for value in sheet[top + 1, left + 1])


def has(image, colour, least=20):
    return (image == np.array(colour, np.uint8)).all(-1).sum() >= least


def test_right_and_wrong_classes():
    predictions = ClassPrediction(scores=scores_of([0, 2, 1]))
    sheet = sheets.sheet(batch_of(classes_of([0, 1, 2], [True, True, False])), CLASSES, predictions)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert [tile_of(sheet, i)[1] for i in range(3)] == [drawing.RIGHT, drawing.WRONG, drawing.NEUTRAL]


def test_detections_are_judged_all_together():
    """The first image has all and nothing else, the second one too many, the third misses one; weak ones are not drawn."""
    boxes = [[10, 10, 50, 50], [60, 60, 90, 90]]
    target = objects_of([boxes] * 3, [[0, 2]] * 3)
    third = [[10, 10, 50, 50], [60, 60, 90, 90], [5, 60, 45, 95]]
    predictions = DetectionPrediction(
        boxes=np.array([third] * 3, np.float32),
        labels=np.array([[0, 2, 1]] * 3, np.int32),
        scores=np.array([[0.9, 0.8, 0.4], [0.9, 0.8, 0.7], [0.9, 0.4, 0.3]], np.float32),
        valid=np.array([[True, True, True], [True, True, True], [True, False, True]]),
    )
    sheet = sheets.sheet(batch_of(target), CLASSES, predictions)
    tiles = [tile_of(sheet, i) for i in range(3)]
    assert [frame for _, frame in tiles] == [drawing.RIGHT, drawing.WRONG, drawing.WRONG]
    extra = [has(inner[61 * SCALE : 94 * SCALE, 4 * SCALE : 7 * SCALE], drawing.colour(1)) for inner, _ in tiles]
    assert extra == [False, True, False]
    row = lambda i: DetectionPrediction(
        *(x[i] for x in (predictions.boxes, predictions.labels, predictions.scores, predictions.valid))
    )
    picture = sheets.annotate(np.full((400, 400, 3), 60, np.uint8), CLASSES, row(1))
    assert all(has(picture, drawing.colour(k)) for k in range(3))
    assert not has(sheets.annotate(np.full((400, 400, 3), 60, np.uint8), CLASSES, row(2)), drawing.colour(2))
    # From another score on.
    sheet = sheets.sheet(batch_of(target), CLASSES, predictions, threshold=0.75)
    assert [tile_of(sheet, i)[1] for i in range(3)] == [drawing.RIGHT, drawing.RIGHT, drawing.WRONG]
    weak = sheets.annotate(np.full((400, 400, 3), 60, np.uint8), CLASSES, row(2), threshold=0.25)
    assert has(weak, drawing.colour(1)) and not has(weak, drawing.colour(2))  # the one of class 2 is padding


def test_right_and_wrong_boxes():
    """The same box is right; IoU 1/3 and another class are not."""
    target = objects_of([[[10, 10, 50, 50]]] * 3, [[0]] * 3)
    boxes = np.array([[10, 10, 50, 50], [30, 10, 70, 50], [10, 10, 50, 50]], np.float32)
    predictions = LocalizationPrediction(scores=jnp.array(scores_of([0, 0, 1])), boxes=jnp.array(boxes))
    sheet = sheets.sheet(batch_of(target), CLASSES, predictions)
    assert [tile_of(sheet, i)[1] for i in range(3)] == [drawing.RIGHT, drawing.WRONG, drawing.WRONG]


def test_boxes_are_drawn_where_they_are():
    target = objects_of([[[20, 30, 70, 90]]] * 3, [[2]] * 3)
    inner, frame = tile_of(sheets.sheet(batch_of(target), CLASSES), 0)
    assert frame == drawing.NEUTRAL
    rows, columns = np.nonzero((inner == np.array(drawing.colour(2), np.uint8)).all(-1))
    below = rows > SCALE * 30 + 5  # the name stands above
    assert columns[below].min() == SCALE * 20 and columns[below].max() == SCALE * 70 - 1
    assert rows.max() == SCALE * 90 - 1
    assert (inner[SCALE * 60, SCALE * 45] == 60).all()  # nothing within


def test_predictions_are_dashed():
    target = objects_of([[[20, 30, 70, 90]]] * 3, [[2]] * 3, valid=np.zeros((3, 1), bool))
    boxes = np.tile(np.array([[20, 30, 70, 90]], np.float32), (3, 1))
    inner, _ = tile_of(sheets.sheet(batch_of(target), CLASSES, LocalizationPrediction(scores_of([1, 1, 1]), boxes)), 0)
    edge = inner[SCALE * 90 - 1, SCALE * 20 : SCALE * 70]
    assert has(edge, drawing.colour(1)) and has(edge, (255, 255, 255))


def test_padding_and_missing_examples_are_hatched():
    batch = batch_of(classes_of([0, 0, 0]), size=(50, 80))
    batch = batch.replace(valid=np.array([True, False, True]))
    sheet = sheets.sheet(batch, CLASSES)
    inner, _ = tile_of(sheet, 0)
    assert (inner[: SCALE * 50, : SCALE * 80] == 60).all()
    hatched = drawing.hatch(SCALE * SIDE, SCALE * SIDE)
    np.testing.assert_array_equal(inner[SCALE * 50 :], hatched[SCALE * 50 :])
    np.testing.assert_array_equal(inner[:, SCALE * 80 :], hatched[:, SCALE * 80 :])
    np.testing.assert_array_equal(tile_of(sheet, 1)[0], hatched)


def test_semantic_maps_are_tinted_and_ignored_pixels_and_the_background_are_not():
    labels = np.full((3, SIDE, SIDE), IGNORE, np.uint8)
    labels[:, :50, :50], labels[:, 50:, :50], labels[:, :20, 60:] = 1, 2, 0
    batch, classes = batch_of(SemanticTarget(labels=labels)), ("background", *CLASSES[1:])
    inner, _ = tile_of(sheets.sheet(batch, classes), 0, pictures=2)
    image, truth = inner[:, : SCALE * SIDE], inner[:, SCALE * SIDE + sheets.FRAME :]
    assert (image == 60).all() and (truth[:, SCALE * 50 :] == 60).all()
    one, other = truth[30, 30].astype(int), truth[-30, 30].astype(int)
    expected = [(60 * 0.4 + 0.6 * np.array(drawing.colour(k))).astype(int) for k in (1, 2)]
    np.testing.assert_allclose([one, other], expected, atol=1)

    found = np.full((3, SIDE, SIDE), 1, np.uint8)
    inner, _ = tile_of(sheets.sheet(batch, classes, SegmentationPrediction(found)), 0, pictures=3)
    guess = inner[:, 2 * (SCALE * SIDE + sheets.FRAME) :]
    expected = (24 + 0.6 * np.array(drawing.colour(1))).astype(int)
    np.testing.assert_allclose(guess, np.broadcast_to(expected, guess.shape), atol=1)


def test_masks_are_tinted_within_their_boxes():
    masks = np.zeros((3, 1, 10, 10), bool)
    masks[..., :5] = True
    target = objects_of([[[20, 20, 80, 80]]] * 3, [[0]] * 3, masks=masks)
    inner, _ = tile_of(sheets.sheet(batch_of(target), CLASSES), 0)
    assert (inner[SCALE * 50, SCALE * 30] != 60).any() and (inner[SCALE * 50, SCALE * 70] == 60).all()
    assert (inner[SCALE * 10, SCALE * 90] == 60).all()


def test_pasted_masks_fill_their_boxes():
    full = np.ones((7, 7), bool)
    pasted = overlays.paste_mask(full, np.array([3.0, 4.0, 9.0, 6.0]), (10, 12))
    expected = np.zeros((10, 12), bool)
    expected[4:6, 3:9] = True
    np.testing.assert_array_equal(pasted, expected)
    partly = overlays.paste_mask(full, np.array([-3.0, 8.0, 2.0, 14.0]), (10, 12))
    expected = np.zeros((10, 12), bool)
    expected[8:, :2] = True
    np.testing.assert_array_equal(partly, expected)


def test_many_objects_have_no_names_in_the_picture():
    boxes = [[[10 * k, 60, 10 * k + 9, 90] for k in range(5)]] * 3
    inner, _ = tile_of(sheets.sheet(batch_of(objects_of(boxes, [[0] * 5] * 3)), CLASSES), 0)
    assert not has(inner[: SCALE * 55], drawing.colour(0), 1)
    few, _ = tile_of(sheets.sheet(batch_of(objects_of([b[:2] for b in boxes], [[0] * 2] * 3)), CLASSES), 0)
    assert has(few[: SCALE * 60], drawing.colour(0))


@pytest.mark.parametrize(("most", "columns", "across", "down"), [(16, 4, 3, 1), (2, 4, 2, 1), (3, 1, 1, 3), (3, 2, 2, 2)])
def test_sheets_have_the_asked_form(most, columns, across, down):
    sheet = sheets.sheet(batch_of(classes_of([0, 1, 2])), CLASSES, most=most, columns=columns, scale=1)
    tile_height = SIDE + 2 * sheets.FRAME + sheets.LINE + 4
    tile_width = SIDE + 2 * sheets.FRAME
    gap = sheets.GAP
    assert sheet.shape == (down * (tile_height + gap) + gap, across * (tile_width + gap) + gap, 3)


def test_batches_without_targets_are_drawn():
    sheet = sheets.sheet(batch_of(None), CLASSES, ClassPrediction(scores_of([0, 1, 2])))
    assert tile_of(sheet, 0)[1] == drawing.NEUTRAL


@pytest.mark.parametrize(
    "draw",
    [
        lambda p: sheets.sheet(batch_of(None), CLASSES, p),
        lambda p: sheets.annotate(np.zeros((9, 9, 3), np.uint8), CLASSES, p),
    ],
)
def test_unknown_predictions_are_named(draw):
    with pytest.raises(ValueError, match="no way to draw predictions of type dict"):
        draw({"scores": np.zeros((3, 3))})


# One image ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (40, 9), (128, 128), (50, 2000), (700, 900)])
def test_annotated_images_keep_every_pixel(size):
    image = np.full((*size, 3), 60, np.uint8)
    box = np.array([0.2, 0.2, 0.8, 0.9], np.float32) * [size[1], size[0], size[1], size[0]]
    prediction = LocalizationPrediction(scores=scores_of(0), boxes=box.astype(np.float32))
    picture = sheets.annotate(image, CLASSES, prediction)
    scale = max(1, -(-320 // max(size)))
    assert picture.shape[0] > scale * size[0] and picture.shape[1] >= scale * size[1]
    assert has(picture, drawing.colour(0))
    corner = picture[scale * size[0] - 1, 0]
    assert (corner == 60).all() or size == (1, 1)


def test_annotated_boxes_are_where_they_are():
    prediction = LocalizationPrediction(scores=scores_of(1), boxes=np.array([100, 200, 300, 400], np.float32))
    picture = sheets.annotate(np.full((600, 800, 3), 60, np.uint8), CLASSES, prediction)[:600]
    rows, columns = np.nonzero((picture == np.array(drawing.colour(1), np.uint8)).all(-1))
    assert columns.min() == 100 and rows.max() == 399 and columns[rows > 210].max() == 299


def test_annotated_classes_have_no_box():
    picture = sheets.annotate(np.full((400, 400, 3), 60, np.uint8), CLASSES, ClassPrediction(scores_of(2)))
    assert (picture[:400, :400] == 60).all() and has(picture[400:], drawing.colour(2))


# Colours and files --------------------------------------------------------------------------------------------------------


def test_colours_of_classes_differ():
    colours = np.array([drawing.colour(k) for k in range(91)])
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(91, dtype=int)
    assert distance.min() >= 15 and distance[:12, :12].min() >= 60
    assert colours.min() >= 0 and colours.max() <= 255


def test_files_are_whole_and_exact(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    path = tmp_path / "new" / "folder" / "a.png"
    for _ in range(2):  # the second overwrites
        sheets.write_png(path, array)
    np.testing.assert_array_equal(np.array(Image.open(path)), array)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]
