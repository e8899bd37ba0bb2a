"""Pictures of instances and of a detector's stages: what is drawn lies where it should, and the object shows through."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter

from cnnvision.evaluation.pasting import part_of_runs, pasted_runs
from cnnvision.pictures import drawing
from cnnvision.pictures.overlays import _without_rim, masked
from cnnvision.pictures.sheets import annotate
from cnnvision.pictures.stages import draw_stages
from cnnvision.types import InstancePrediction


def disc(side=28):
    x = np.arange(side) + 0.5 - side / 2
    return (x[:, None] ** 2 + x**2 < (side / 2) ** 2).astype(np.float32)


def found():
    """Two detections of a 100×120 image: a disc of class 1, and one of class 0 that scores too little to be drawn."""
    boxes = np.array([[20, 10, 80, 70], [70, 50, 110, 90]], np.float32)
    scores, valid = np.array([0.9, 0.2], np.float32), np.ones(2, bool)
    return InstancePrediction(boxes, np.array([1, 0], np.int32), scores, valid, np.stack([disc(), disc()]))


def image():
    return np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)


def test_a_mask_is_tinted_and_outlined_and_nothing_else_is_touched():
    pixels, prediction = image(), found().replace(valid=np.array([True, False]))
    drawn = masked(pixels, prediction, 1, ("a", "b"), width=2)
    where, mask = part_of_runs(pasted_runs(disc(), prediction.boxes[0], (100, 120)), (100, 120))
    whole = np.zeros((100, 120), bool)
    whole[where] = mask
    np.testing.assert_array_equal(drawn[~whole], pixels[~whole])
    ink = np.array(drawing.colour(1))
    np.testing.assert_allclose(drawn[40, 50], 0.65 * pixels[40, 50] + 0.35 * ink, atol=2)  # the middle shows through
    rim = whole & ~(np.roll(whole, 1, 0) & np.roll(whole, -1, 0) & np.roll(whole, 1, 1) & np.roll(whole, -1, 1))
    assert (drawn[rim] == ink).all()


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_rim_of_a_mask(width):
    """What has a pixel outside the mask, or beyond the array, in the square around it, as a slow filter finds it."""
    mask = np.asarray(Image.fromarray(np.random.default_rng(0).random((30, 40)) > 0.2).filter(ImageFilter.MedianFilter(5)))
    padded = Image.fromarray(np.pad(mask, width).astype(np.uint8)).filter(ImageFilter.MinFilter(2 * width + 1))
    np.testing.assert_array_equal(_without_rim(mask, width), np.array(padded)[width:-width, width:-width] > 0)


def test_outlines_alone_leave_the_inside_as_it_is():
    pixels = image()
    drawn = masked(pixels, found(), 1, ("a", "b"), width=1, fill=False)
    np.testing.assert_array_equal(drawn[40, 50], pixels[40, 50])
    assert (drawn != pixels).any()


def test_objects_of_one_class_have_colours_of_their_own():
    drawn = masked(image() // 2, found(), 1, ("nucleus",), width=1)
    inks = [np.array(drawing.colour(k)) for k in (0, 1)]
    assert all((drawn == ink).all(axis=-1).sum() > 20 for ink in inks)


def test_an_image_with_instances_is_annotated():
    pixels = image()
    picture, plain = annotate(pixels, ("a", "b"), found()), annotate(pixels, ("a", "b"), found(), threshold=1.0)
    assert picture.shape == plain.shape and (picture[120, 150] != plain[120, 150]).any()  # three times as large: the disc


def test_of_many_objects_the_masks_alone_are_drawn():
    """Frames and names would hide them."""
    several = lambda count: jax.tree.map(lambda leaf: np.repeat(leaf[:1], count, axis=0), found())
    on_frame = lambda prediction, threshold=0.5: annotate(image(), ("a", "b"), prediction, threshold)[10 * 3, 22 * 3]
    np.testing.assert_array_equal(on_frame(several(13)), on_frame(several(13), threshold=1.0))
    assert (on_frame(several(12)) != on_frame(several(12), threshold=1.0)).any()


def test_stages():
    anchors = [np.array([[0, 0, 30, 30], [40, 40, 70, 70]], np.float32), np.array([[10, 10, 90, 90]], np.float32)]
    proposals = np.array([[20, 10, 80, 70], [0, 0, 9, 9]], np.float32), np.array([0.9, 0.0]), np.array([True, False])
    pictures = draw_stages(image(), anchors, np.array([1.0, -1.0, 3.0]), proposals, found(), ("a", "b"))
    assert list(pictures) == ["anchors", "proposals", "detections", "masks", "pasted"]
    assert all(each.dtype == np.uint8 and each.ndim == 3 for each in pictures.values())
    scale = 5  # 120 pixels to 512 at least
    assert pictures["anchors"].shape == (100 * scale, 120 * scale, 3)
    np.testing.assert_array_equal(pictures["anchors"][10 * scale, 50 * scale], drawing.colour(1))  # of the second map
    np.testing.assert_array_equal(pictures["proposals"][10 * scale, 50 * scale], drawing.colour(0))
    np.testing.assert_array_equal(pictures["masks"][56, 56], drawing.colour(1))  # one of the two: its middle is sure
    assert pictures["masks"].shape[1] < 2 * 28 * 4
    empty = draw_stages(image(), anchors, np.zeros(3), proposals, found(), ("a", "b"), threshold=1.0)
    np.testing.assert_array_equal(empty["pasted"][::scale, ::scale].shape, image().shape)
