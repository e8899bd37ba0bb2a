"""`instances:DIR`: images with maps of instance ids."""

import pickle

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.faults import DataSetError, EmptyDataError, RecordError
from cnnvision.data.maps.class_ids import instance_table
from cnnvision.data.sources import open_source
from tests.data.planted import encoded, instances_set, picture, three_objects, two_fields, write


def opened(root, split="train", classes=None):
    return open_source(f"instances:{root}", split, classes)


def add(root, stem, mask, split="train"):
    write(root / split / "images" / f"{stem}.png", encoded(picture(50)))
    write(root / split / "masks" / f"{stem}.png", mask if isinstance(mask, bytes) else encoded(Image.fromarray(mask)))


def test_a_sound_set(tmp_path):
    source = opened(instances_set(tmp_path))
    assert source.classes == ("object",) and source.semantic_classes == ("background", "object")
    assert source.ids == ("train/images/0.png", "train/images/1.png") and not source.problems and source.annotations_at_hand
    objects = source.read(0, image=False).objects
    # In the order of their values: 2 fills the last column from row 20 on, 7 a rectangle, 900 two single pixels.
    assert objects.boxes.tolist() == [[39, 20, 40, 30], [3, 2, 10, 5], [0, 0, 13, 11]] and objects.boxes.dtype == np.float32
    assert objects.area.tolist() == [10, 21, 2] and objects.area.dtype == np.float32
    assert objects.labels.tolist() == [0, 0, 0] and objects.crowd.tolist() == [False] * 3 and objects.masks is None
    example = source.read(1, masks=True)
    np.testing.assert_array_equal(example.image, picture(1))
    ids = three_objects()
    np.testing.assert_array_equal(example.objects.masks, [ids == 2, ids == 7, ids == 900])
    assert example.objects.masks.dtype == bool and example.objects.boxes.tolist() == objects.boxes.tolist()
    np.testing.assert_array_equal(example.semantic, ids > 0)
    assert example.semantic.dtype == np.uint8 and example.label is None and source.read(1).semantic is None
    assert example.cells is None
    cells = source.read(1, masks="cells")
    np.testing.assert_array_equal(cells.cells, ids)
    assert cells.cells.dtype == np.int32 and cells.objects.masks is None
    for maps in (cells, source.read(1, masks="semantic")):
        np.testing.assert_array_equal(maps.semantic, ids > 0)
    copy = pickle.loads(pickle.dumps(source)).read(1, masks=True)
    np.testing.assert_array_equal(copy.objects.masks, example.objects.masks)
    assert len(opened(tmp_path, "val")) == 1 and source.original(0) == ("train/images/0.png", encoded(picture(0)))


def test_boxes_and_areas_of_random_maps():
    rng = np.random.default_rng(0)
    for _ in range(60):
        raw = rng.choice(np.append(0, rng.integers(0, 60_000, 5)), rng.integers(1, 12, 2)).astype(np.uint16)
        ids, boxes, areas = instance_table(raw)
        assert ids.tolist() == sorted(set(raw.ravel().tolist()) - {0})
        for id, box, area in zip(ids, boxes, areas, strict=True):
            rows, columns = np.nonzero(raw == id)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] and area == len(rows)


def test_maps_of_8_bits(tmp_path):
    root = instances_set(tmp_path)
    palette = Image.fromarray(two_fields(left=0, right=3), "L")
    palette.putpalette([9, 8, 7] * 4)
    add(root, "p", encoded(palette))
    add(root, "x", np.repeat(two_fields(left=1, right=4)[:, :, None], 3, axis=2))
    source = opened(root)
    assert source.read(2).objects.boxes.tolist() == [[10, 0, 40, 30]]
    assert source.read(3).objects.boxes.tolist() == [[0, 0, 10, 30], [10, 0, 40, 30]]


def test_the_name_of_the_class(tmp_path):
    root = instances_set(tmp_path)
    write(root / "classes.txt", "\n cell nucleus \r\n")
    source = opened(root)
    assert source.classes == ("cell nucleus",) and source.semantic_classes == ("background", "cell nucleus")
    assert opened(root, "val", ("dog", "cell nucleus")).read(0).objects.labels.tolist() == [1, 1, 1]
    other = opened(root, "val", ("cell nuclei",))
    (problem,) = other.problems
    assert (problem.field, problem.value, problem.effect) == ("class", "cell nucleus", "object left out")
    assert "Did you mean 'cell nuclei'" in problem.cure and other.classes == ("cell nuclei",)
    example = other.read(0, masks=True)
    assert example.objects.boxes.shape == (0, 4) and example.objects.masks.shape == (0, 30, 40) and example.semantic.any()
    for text in ("", "a\nb\n"):
        write(root / "classes.txt", text)
        with pytest.raises(DataSetError, match=rf"classes\.txt: should have one line, and has {len(text.split())}"):
            opened(root)


def test_maps_without_objects(tmp_path):
    root = instances_set(tmp_path)
    add(root, "none", np.zeros((30, 40), np.uint16))
    source = opened(root)
    (problem,) = source.problems
    assert (problem.file, problem.effect) == ("train/masks/none.png", "kept") and "no object" in problem.message
    example = source.read(2, masks=True)
    assert example.objects.boxes.shape == (0, 4) and example.objects.masks.shape == (0, 30, 40)
    assert not example.semantic.any()


def test_maps_of_classes_are_suspected(tmp_path):
    for split in ("train", "val"):
        add(tmp_path, "a", two_fields(), split)
    (problem,) = opened(tmp_path).problems
    assert (problem.file, problem.effect) == ("train/masks", "kept") and "masks:DIR" in problem.cure


def test_faulty_maps_are_left_out(tmp_path):
    root = instances_set(tmp_path)
    add(root, "colour", picture(3))
    add(root, "half", encoded(Image.fromarray(np.random.default_rng(0).integers(0, 900, (30, 40)).astype(np.uint16)))[:200])
    add(root, "jpeg", encoded(two_fields(), "JPEG"))
    add(root, "long", encoded(Image.fromarray(three_objects().astype(np.int32)), "TIFF"))
    add(root, "size", three_objects()[:29])
    source = opened(root)
    assert len(source) == 2 and all(p.effect == "left out" and p.cure for p in source.problems)
    words = {p.file: p.message for p in source.problems}
    for stem, part in [
        ("colour", "colour-coded"),
        ("half", "breaks off"),
        ("jpeg", "JPEG"),
        ("long", "mode I"),
        ("size", "not as large"),
    ]:
        assert part in words.pop(f"train/masks/{stem}.png")
    assert not words
    for stem in ("0", "1"):
        (root / "train" / "masks" / f"{stem}.png").unlink()
    with pytest.raises(EmptyDataError):
        opened(root)


def test_a_map_that_changed(tmp_path):
    root = instances_set(tmp_path)
    source = opened(root)
    add(root, "0", np.minimum(three_objects(), 2))
    with pytest.raises(RecordError, match=r"train/masks/0\.png, instances: the map changed: it had 3 objects .*found '1'"):
        source.read(0, masks=True)
    add(root, "0", three_objects()[:, :39])
    with pytest.raises(RecordError, match="not as large as its image of 40 x 30"):
        source.read(0, masks=True)
    (root / "train" / "masks" / "0.png").unlink()
    with pytest.raises(RecordError, match=r"masks/0\.png: cannot be read"):
        source.read(0, masks=True)


def test_real_data(shared_data):
    for split, images, objects in (("train", 165, 6903), ("val", 44, 1574)):
        source = opened(shared_data / "nuclei", split)
        examples = [source.read(index, image=False) for index in range(len(source))]
        assert len(source) == images and sum(len(e.objects.boxes) for e in examples) == objects and not source.problems
    example = source.read(3, masks=True)
    masks = example.objects.masks
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), example.objects.area)
    np.testing.assert_array_equal(masks.any(axis=0), example.semantic)
    assert masks.sum(axis=0).max() == 1
