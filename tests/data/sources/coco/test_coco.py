"""`coco:DIR`: COCO's layout."""

import json
import pickle

import numpy as np
import pytest

from cnnvision.data import shapes
from cnnvision.data.sources import open_source, split_names
from cnnvision.data.sources.coco.writer import run_lengths, write_coco
from cnnvision.errors import DataError
from tests.data.planted import coco_annotation, coco_set, encoded, instances_set, picture, write
from tests.data.sources.coco.coco_sets import JSON, opened, rectangle, told


def test_a_sound_set(tmp_path):
    source = opened(coco_set(tmp_path))
    assert source.classes == ("cat", "dog") and source.category_ids == (3, 7) and source.semantic_classes == ()
    assert source.ids == ("train2017/10.png", "train2017/20.png") and not source.problems and source.split == "train"
    assert source.image_ids == (10, 20)
    example = source.read(0, masks=True)
    np.testing.assert_array_equal(example.image, picture(10))
    objects = example.objects
    assert objects.boxes.tolist() == [[2, 3, 12, 23], [5.5, 6, 35.5, 26]] and objects.boxes.dtype == np.float32
    assert objects.labels.tolist() == [1, 0] and objects.labels.dtype == np.int32
    assert objects.crowd.tolist() == [False, True] and objects.area.tolist() == [200, 50.5]
    # In fifths of a pixel 5.5 is rounded to 28, beyond the centre of column 5 at 27.5; so is 35.5 beyond 35's.
    np.testing.assert_array_equal(objects.masks, [rectangle(2, 3, 12, 23), rectangle(6, 6, 36, 26)])
    assert example.label is None and example.semantic is None and source.read(0).objects.masks is None
    empty = source.read(1, masks=True)
    assert empty.objects.boxes.shape == (0, 4) and empty.objects.masks.shape == (0, 30, 40)
    copy = pickle.loads(pickle.dumps(source)).read(0, masks=True)
    np.testing.assert_array_equal(copy.objects.masks, objects.masks)
    assert source.original(1) == ("train2017/20.png", encoded(picture(20)))


def test_splits(tmp_path):
    root = coco_set(tmp_path)
    assert split_names(f"coco:{root}") == ("train2017", "val2017")
    assert opened(root, "train2017").ids == opened(root).ids and len(opened(root, "val")) == 1
    with pytest.raises(DataError, match=r"no split 'tra'.*train2017"):
        opened(root, "tra")
    annotations, content = root / "annotations", json.loads((root / JSON).read_text())
    write(annotations / "instances_trainval2017.json", json.dumps(content))
    write(annotations / "instances_testing_a.json", json.dumps(content))
    write(annotations / "instances_train2018.json", json.dumps({**content, "images": content["images"][:1]}))
    (root / "train2017").rename(root / "images")
    newest = opened(root)
    told(newest, effect="kept", words="'train2018' is used")
    assert len(newest) == 1 and len(opened(root, "train2017")) == 2
    told(opened(root, "test"), effect="kept", words="'testing_a' is used for it")
    write(annotations / "instances_train.json", (root / JSON).read_bytes())
    assert not opened(root).problems and not opened(root, "train2017").problems
    (root / "annotations").rename(root / "notes")
    for path in (root / "notes").iterdir():
        path.write_text("[]")
    with pytest.raises(DataError, match=r"should hold annotations/instances_SPLIT\.json, or .* there is images, notes, val"):
        opened(root)


@pytest.mark.parametrize("place", ["images/train2017", "images", "."])
def test_places_of_images(tmp_path, place):
    root = coco_set(tmp_path)
    for number in (10, 20):
        write(root / place / f"{number}.png", (root / "train2017" / f"{number}.png").read_bytes())
        (root / "train2017" / f"{number}.png").unlink()
    source = opened(root)
    assert source.ids == tuple(f"{place}/{number}.png".removeprefix("./") for number in (10, 20))
    assert not source.problems


def test_classes_of_training(tmp_path):
    source = opened(coco_set(tmp_path), classes=("bird", "dog"))
    told(source, file=JSON, field="name", value="cat", effect="object left out", words="not among those of training")
    assert source.read(0).objects.labels.tolist() == [1] and source.category_ids == (None, 7)
    np.testing.assert_array_equal(source.read(0, masks=True).objects.masks, [rectangle(2, 3, 12, 23)])


def test_codings_of_one_mask(tmp_path):
    counts = run_lengths(rectangle(2, 3, 4, 5))["counts"]
    assert counts == [63, 2, 28, 2, 1105]
    text = "o1" + "2" + "l0" + "0" + "eQ1"  # 63, 2, 28, 2 - 2, 1105 - 28 = 1077: by hand, in groups of 5 bits
    box = (2, 3, 2, 2)
    codings = [
        [[2, 3, 4, 3, 4, 5, 2, 5]],
        [[2, 3, 3, 3, 3, 5, 2, 5], [3, 3, 4, 3, 4, 5, 3, 5]],
        {"size": [30, 40], "counts": counts},
        {"size": [30, 40], "counts": text},
    ]
    annotations = [coco_annotation(i, 20, 7, box, segmentation=coding) for i, coding in enumerate(codings)]
    source = opened(coco_set(tmp_path, annotations[::-1]))
    assert not source.problems
    for mask in source.read(1, masks=True).objects.masks:
        np.testing.assert_array_equal(mask, rectangle(2, 3, 4, 5))


def test_without_segmentations_there_are_no_masks(tmp_path):
    bare = coco_annotation(1, 10, 7, (2.5, 3, 10, 20))
    del bare["segmentation"], bare["area"], bare["iscrowd"]
    source = opened(coco_set(tmp_path, [bare, coco_annotation(2, 20, 3, (1, 1, 2, 2), segmentation=[])]))
    assert not source.problems and source.read(0, masks=True).objects.masks is None
    objects = source.read(0).objects
    assert objects.area.tolist() == [200] and objects.crowd.tolist() == [False]
    other = opened(coco_set(tmp_path, [bare, coco_annotation(2, 20, 3, (1, 1, 2, 2))]))
    told(other, file=JSON, record="annotation 1", field="segmentation", effect="repaired", words="box is taken for its mask")
    np.testing.assert_array_equal(other.read(0, masks=True).objects.masks, [rectangle(2, 3, 13, 23)])


def test_an_area_that_is_not_written_is_that_of_the_mask(tmp_path):
    triangle = coco_annotation(1, 10, 7, (2, 3, 20, 20), segmentation=[[2, 3, 22, 3, 2, 23]])
    del triangle["area"]
    example = opened(coco_set(tmp_path, [triangle, coco_annotation(2, 10, 3, (1, 1, 2, 2), area=7)])).read(0, masks=True)
    assert example.objects.area.tolist() == [example.objects.masks[0].sum(), 7] and 150 < example.objects.area[0] < 250


def test_objects_keep_their_images(tmp_path):
    annotations = [coco_annotation(i, 10 + 10 * (i % 2), 3 + 4 * (i % 3 == 0), (i, 1, 2, 3)) for i in range(12)]
    source = opened(coco_set(tmp_path, annotations))
    for index in range(2):
        example = source.read(index, masks=True)
        assert example.objects.boxes[:, 0].tolist() == list(range(index, 12, 2))
        assert example.objects.labels.tolist() == [int(i % 3 == 0) for i in range(index, 12, 2)]
        for i, mask in zip(range(index, 12, 2), example.objects.masks, strict=True):
            np.testing.assert_array_equal(mask, rectangle(i, 1, i + 2, 4))


def test_cells_are_numbered_and_the_first_of_two_has_the_pixel(tmp_path):
    annotations = [coco_annotation(i, 20, 7, box) for i, box in enumerate([(3, 2, 5, 6), (0, 0, 5, 5), (20, 9, 4, 4)])]
    source = opened(coco_set(tmp_path, annotations))
    example = source.read(1, masks="cells")
    expected = np.select([rectangle(3, 2, 8, 8), rectangle(0, 0, 5, 5), rectangle(20, 9, 24, 13)], [1, 2, 3])
    np.testing.assert_array_equal(example.cells, expected)
    assert example.cells.dtype == np.int32 and example.objects.masks is None
    assert not source.read(0, masks="cells").cells.any() and source.read(1, masks=True).cells is None
    bare = coco_annotation(1, 10, 7, (2.5, 3, 10, 20))
    del bare["segmentation"]
    assert opened(coco_set(tmp_path / "boxes", [bare])).read(0, masks="cells").cells is None


def test_ids_may_be_text_and_sizes_may_be_missing(tmp_path):
    root = coco_set(tmp_path, [coco_annotation(1, "x", 7.0, (1, 2, 3, 4))], [{"id": "x", "file_name": "new.png"}])
    write(root / "train2017" / "new.png", encoded(picture(4)))
    source = opened(root)
    assert not source.problems and source.read(2).objects.labels.tolist() == [1]


def test_json_with_a_byte_order_mark(tmp_path):
    root = coco_set(tmp_path)
    write(root / JSON, b"\xef\xbb\xbf" + (root / JSON).read_bytes())
    assert len(opened(root)) == 2


def same(one, other):
    """Whether two sources have the same pictures and objects."""
    assert len(one) == len(other)
    for index in range(len(one)):
        first, second = (source.read(index, masks=True) for source in (one, other))
        np.testing.assert_array_equal(first.image, second.image)
        for field in ("boxes", "labels", "crowd", "area", "masks"):
            np.testing.assert_array_equal(getattr(first.objects, field), getattr(second.objects, field))


def test_what_was_written_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(shapes, "SPLITS", {"train": 6, "val": 2})
    instances = f"instances:{instances_set(tmp_path / 'instances')}"
    for name, output in (("shapes", tmp_path / "one"), (instances, tmp_path / "two")):
        sources = [open_source(name, split) for split in ("train", "val")]
        write_coco(sources, output, suffix="2017", progress=False)
        for source in sources:
            read = opened(output, source.split)
            assert read.classes == source.classes and read.category_ids == tuple(range(1, len(source.classes) + 1))
            assert not read.problems
            same(source, read)
    again = write_coco([opened(tmp_path / "one", s) for s in ("train", "val")], tmp_path / "three", progress=False)
    assert again[0].images == 6
    same(opened(tmp_path / "one"), opened(tmp_path / "three"))


def test_real_data(shared_data):
    crowds = {"train": 6, "val": 5}
    for split, images, objects in (("train", 100, 746), ("val", 80, 582)):
        source = opened(shared_data / "coco128", split)
        assert len(source) == images and not source.problems
        assert len(source.classes) == 80 and len(source.semantic_classes) == 133
        assert source.category_ids[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13) and source.category_ids[-1] == 90
        annotated = [source.read(index, image=False).objects for index in range(images)]
        assert sum(len(o.boxes) for o in annotated) == objects
        assert sum(int(o.crowd.sum()) for o in annotated) == crowds[split]
        small = sum(int((o.area < 32**2).sum()) for o in annotated)
        assert round(100 * small / objects) == {"train": 44, "val": 36}[split]
    assert sum(not len(o.boxes) for o in annotated) == 0
    train = opened(shared_data / "coco128")
    assert sum(not len(train.read(index, image=False).objects.boxes) for index in range(100)) == 2


def test_masks_of_real_data_agree_with_its_semantic_maps(shared_data):
    source = opened(shared_data / "coco128", "val")
    for index in range(0, 80, 4):
        example = source.read(index, image=False, masks=True)
        objects = example.objects
        for mask, box, label, area in zip(objects.masks, objects.boxes, objects.labels, objects.area, strict=True):
            rows, columns = np.nonzero(mask)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(found - box).max() <= 2 and abs(mask.sum() - area) <= 0.1 * area + 3
            if area > 200:
                named = source.semantic_classes.index(source.classes[label])
                assert (example.semantic[mask] == named).mean() > 0.9
