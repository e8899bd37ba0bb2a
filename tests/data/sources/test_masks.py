"""`masks:DIR`: images with semantic maps."""

import pickle

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.faults import DataSetError, EmptyDataError, RecordError
from cnnvision.data.sources import open_source
from tests.data.planted import encoded, masks_set, picture, two_fields, write


def opened(root, split="train", classes=None):
    return open_source(f"masks:{root}", split, classes)


def test_a_sound_set(tmp_path):
    source = opened(masks_set(tmp_path))
    assert source.classes == () and source.semantic_classes == ("0", "255") and source.annotations_at_hand
    assert source.ids == ("train/image/0.png", "train/image/1.png", "train/image/2.png")
    example = source.read(1, masks=True)
    np.testing.assert_array_equal(example.image, picture(1))
    expected = np.ones((30, 40), np.uint8)
    expected[:, :10] = 0
    np.testing.assert_array_equal(example.semantic, expected)
    assert example.semantic.dtype == np.uint8 and example.label is None and example.objects is None
    assert example.size == (30, 40) and source.read(1).semantic is None
    assert source.read(1, image=False, masks=True).image is None
    assert source.original(1) == ("train/image/1.png", encoded(picture(1)))
    (problem,) = source.problems
    assert (problem.file, problem.effect) == ("train/mask", "kept")
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(1, masks=True).semantic, expected)
    assert len(opened(tmp_path, "val", ())) == 2


def test_the_table_is_that_of_train_whichever_split_is_opened(tmp_path):
    root = masks_set(tmp_path, left=4, right=9)
    write(root / "val" / "mask" / "3.png", encoded(two_fields(left=4, right=4)))
    write(root / "val" / "mask" / "4.png", encoded(two_fields(left=4, right=5)))
    val = opened(root, "val")
    assert val.semantic_classes == opened(root).semantic_classes == ("4", "9") and val.ids == (
        "val/image/3.png",
        "val/image/4.png",
    )
    assert not val.read(0, masks=True).semantic.any()
    write(root / "val" / "mask" / "3.png", encoded(two_fields(left=4, right=255)))
    with pytest.raises(RecordError, match=r"found '255'.*not count, give it the name ignore in classes\.csv\."):
        val.read(0, masks=True)
    with pytest.raises(
        RecordError, match=r"val/mask/4\.png, semantic: .*no class \(found '5'\); left out\. Known values: 4, 9"
    ):
        val.read(1, masks=True)
    (root / "train").rename(root / "training")
    assert opened(root, "val").semantic_classes == ("4", "9")


def test_without_train_the_opened_split_declares_the_classes(tmp_path):
    root = masks_set(tmp_path, left=1, right=2)
    (root / "train").rename(root / "elsewhere")
    write(root / "elsewhere" / "mask" / "0.png", encoded(two_fields(left=7)))
    assert opened(root, "val").semantic_classes == ("1", "2")


def test_a_declared_table(tmp_path):
    root = masks_set(tmp_path)
    write(root / "classes.csv", "value,name\n255,cell\n0,ignore\n")
    source = opened(root)
    assert source.semantic_classes == ("cell",) and not source.problems
    assert np.unique(source.read(0, masks=True).semantic).tolist() == [0, 255]
    assert (source.read(0, masks=True).semantic[:, :10] == 255).all()
    write(root / "classes.csv", "value,name\n255,cell\n0.5,wall\n")
    with pytest.raises(DataSetError, match=r"classes\.csv, row 3, value: .*found '0\.5'"):
        opened(root)
    write(root / "classes.csv", "value,name\n0,wall\n")
    with pytest.raises(RecordError, match=r"found '255'.*not count, give it the name ignore in classes\.csv\."):
        opened(root).read(0, masks=True)


def test_colour_coded_maps(tmp_path):
    root = masks_set(tmp_path, left=1, right=0)
    colours = np.array([[0, 0, 0], [9, 8, 7], [1, 1, 1]], np.uint8)
    palette = Image.fromarray(two_fields(left=2, right=1), "L")
    palette.putpalette(colours.ravel().tolist())
    write(root / "train" / "mask" / "0.png", encoded(colours[two_fields(left=1, right=0)]))
    write(root / "train" / "mask" / "1.png", encoded(palette))
    with pytest.raises(DataSetError, match=r"colour-coded.*first are \(0, 0, 0\), \(9, 8, 7\)"):
        opened(root)
    write(root / "classes.csv", "red,green,blue,name\n9,8,7,cell\n0,0,0,wall\n1,1,1,cell\n")
    source = opened(root)
    assert source.semantic_classes == ("cell", "wall")
    left, right = np.zeros((30, 10)), np.ones((30, 30))
    np.testing.assert_array_equal(source.read(0, masks=True).semantic, np.hstack([left, right]))
    assert not source.read(1, masks=True).semantic.any(), "a palette gives its colours where the table has colours"
    np.testing.assert_array_equal(source.read(2, masks=True).semantic, np.hstack([left, right]))  # grey: equal channels
    write(root / "train" / "mask" / "0.png", encoded(picture(3)))
    with pytest.raises(
        RecordError, match=r"colours that stand for no class \(found '\(.*Known colours: \(0, 0, 0\), \(1, 1, 1\)"
    ):
        source.read(0, masks=True)
    write(root / "train" / "mask" / "0.png", encoded(Image.fromarray(two_fields().astype(np.uint16))))
    with pytest.raises(RecordError, match="16 bits"):
        source.read(0, masks=True)


def test_a_palette_gives_its_indices_where_the_table_has_values(tmp_path):
    root = masks_set(tmp_path)
    palette = Image.fromarray(two_fields(left=2, right=1), "L")
    palette.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    for number in range(3):
        write(root / "train" / "mask" / f"{number}.png", encoded(palette))
    source = opened(root)
    assert source.semantic_classes == ("1", "2") and source.read(0, masks=True).semantic[0, [0, 39]].tolist() == [1, 0]


def test_masks_that_break_off_are_left_out_when_they_are_seen(tmp_path):
    root = masks_set(tmp_path)
    for file in ("train/mask/1.png", "val/mask/3.png"):
        write(root / file, (root / file).read_bytes()[:55])
    source = opened(root)
    assert source.ids == ("train/image/0.png", "train/image/2.png")
    assert [p.file for p in source.problems if p.effect == "left out"] == ["train/mask/1.png"]
    val = opened(root, "val")
    assert len(val) == 2 and [p.effect for p in val.problems] == ["kept"]
    with pytest.raises(RecordError, match=r"val/mask/3\.png: .*breaks off"):
        val.read(0, masks=True)
    assert val.read(0).image is not None
    (root / "val" / "mask" / "4.png").unlink()
    with pytest.raises(RecordError, match=r"val/mask/4\.png: cannot be read"):
        val.read(1, masks=True)


def test_nothing_usable(tmp_path):
    root = masks_set(tmp_path)
    for number in range(3):
        write(root / "train" / "mask" / f"{number}.png", encoded(two_fields(), "JPEG"))
    with pytest.raises(EmptyDataError, match=r"no usable example among 3 found:\n  3 x left out.*is a JPEG"):
        opened(root)
    with pytest.raises(DataSetError, match=r"train/mask: none of the masks can be decoded.*classes\.csv"):
        opened(root, "val")


def test_instance_ids_are_no_classes(shared_data):
    with pytest.raises(DataSetError, match=r"more than 100 values.*instances:DIR"):
        opened(shared_data / "nuclei")


def test_real_data(shared_data):
    train, val = (opened(shared_data / "membrane", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (19, 5) and train.semantic_classes == val.semantic_classes == ("0", "255")
    maps = [train.read(index, masks=True).semantic for index in range(19)]
    assert all(semantic.shape == (512, 512) and semantic.max() == 1 for semantic in maps)
    assert 0.21 < np.mean([semantic == 0 for semantic in maps]) < 0.24, "about 22 % is membrane"
    assert [p.effect for p in train.problems] == ["kept"]
