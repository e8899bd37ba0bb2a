"""`tfds:NAME` and `shapes`: prepared data sets, of the published features."""

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cnnvision.data import shapes
from cnnvision.data.decode import decode_image
from cnnvision.data.faults import RecordError
from cnnvision.data.shapes.drawing import RECIPES
from cnnvision.data.sources import open_source, split_names
from cnnvision.errors import DataError
from tests.data import prepared
from tests.data.planted import encoded, picture


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


def test_cifar10(data_dir):
    prepared.cifar10(data_dir)
    source = open_source("tfds:cifar10", "train")
    assert len(source) == 3 and source.classes == prepared.CIFAR_CLASSES and not source.problems
    example = source.read(2)
    np.testing.assert_array_equal(example.image, picture(2, 32, 32))
    assert example.label == 2 and example.objects is None and example.semantic is None and example.size == (32, 32)
    assert example.id == "train/000002" == source.ids[2]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(2).image, example.image)
    assert source.original(2) == ("train_00002", encoded(picture(2, 32, 32)))
    assert split_names("tfds:cifar10") == ("train", "test")


def test_test_stands_for_val_where_there_is_no_other(data_dir):
    prepared.cifar10(data_dir)
    source = open_source("tfds:cifar10", "val")
    assert source.split == "val" and [source.read(i).label for i in range(2)] == [0, 1]
    assert "'test' is used for it" in source.problems[0].message


def test_imagenet(data_dir):
    prepared.imagenet2012(data_dir)
    val, test = open_source("tfds:imagenet2012", "val"), open_source("tfds:imagenet2012", "test")
    assert val.read(0).label == 0 and "'validation' is used" in val.problems[0].message
    assert test.read(0).label is None, "TFDS marks unlabelled images by -1"
    np.testing.assert_array_equal(val.read(0).image, decode_image(encoded(picture(1), "JPEG"), "x"))
    assert val.original(0)[0] == "n01.JPEG"


def test_pets(data_dir):
    prepared.oxford_iiit_pet(data_dir)
    source = open_source("tfds:oxford_iiit_pet", "train")
    assert source.semantic_classes == ("pet", "background", "border") and source.classes == prepared.PET_BREEDS
    example = source.read(0, masks=True)
    assert example.semantic.dtype == np.uint8 and example.semantic.shape == (30, 40)
    assert (example.semantic[10, 10], example.semantic[0, 0], example.semantic[4, 10]) == (0, 1, 2)
    np.testing.assert_allclose(example.objects.boxes, [[10, 3, 30, 15]])
    assert example.label == 2 and example.objects.labels.tolist() == [2]
    assert source.read(0).semantic is None
    headless = open_source("tfds:oxford_iiit_pet", "test").read(0)
    assert headless.objects.boxes.shape == (0, 4) and headless.objects.labels.shape == (0,)


def test_cityscapes(data_dir):
    ids = np.arange(36, dtype=np.uint8).reshape(4, 9)
    ids[3, 8] = 255
    prepared.cityscapes(data_dir, ids)
    source = open_source("tfds:cityscapes", "val")
    # https://github.com/mcordts/cityscapesScripts, helpers/labels.py: the trainId of each id; what has none is ignored.
    train_ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    expected = [train_ids.index(id) if id in train_ids else 255 for id in ids.ravel().tolist()]
    example = source.read(0, masks=True)
    assert example.semantic.ravel().tolist() == expected and example.semantic.dtype == np.uint8
    assert source.classes == () and len(source.semantic_classes) == 19 and example.objects is None and example.label is None
    assert [source.semantic_classes[i] for i in (0, 6, 13, 18)] == ["road", "traffic light", "car", "bicycle"]
    np.testing.assert_array_equal(example.image, picture(2, 4, 9))
    assert source.original(0) == ("bonn_000002_000019", encoded(picture(2, 4, 9))) and source.read(0, image=False).size == (
        4,
        9,
    )


def test_a_trimap_of_another_size_or_with_other_values(data_dir):
    prepared.oxford_iiit_pet(data_dir, np.full((30, 41), 2, np.uint8))
    source = open_source("tfds:oxford_iiit_pet", "test")
    assert source.read(1).image is not None and source.read(0, masks=True).semantic is not None
    with pytest.raises(RecordError, match="not as large as its image of 40 x 30") as caught:
        source.read(1, masks=True)
    problem = caught.value.problem
    assert (problem.file, problem.record, problem.value) == ("tfds:oxford_iiit_pet", "test/000001", "41 x 30")
    shutil.rmtree(data_dir / "oxford_iiit_pet")
    prepared.oxford_iiit_pet(data_dir, np.full((30, 40), 9, np.uint8))
    with pytest.raises(RecordError, match=r"no class \(found '9'\).*1, 2, 3"):
        open_source("tfds:oxford_iiit_pet", "test").read(1, masks=True)


def test_voc_counts_from_one(data_dir):
    prepared.voc(data_dir)
    source = open_source("tfds:voc/2007", "train")
    example = source.read(0, image=False)
    # The XML's (1, 1, 500, 333) is the whole image; (48, 240, 195, 331) begins at the 48th pixel, which spans [47, 48).
    assert example.objects.boxes.tolist() == [[0, 0, 500, 333], [47, 239, 195, 331]]
    assert example.objects.crowd.tolist() == [False, True] and example.label is None and example.size == (333, 500)
    assert [source.classes[label] for label in example.objects.labels] == ["car", "bus"]
    assert example.objects.area.tolist() == [500 * 333, 148 * 92] and not source.faults(0)
    empty = source.read(1)
    assert empty.objects.boxes.shape == (0, 4) and empty.objects.boxes.dtype == np.float32
    assert empty.objects.crowd.shape == empty.objects.area.shape == (0,)
    assert len(open_source("tfds:voc", "val")) == 1, "the only config need not be named"


def test_coco(data_dir):
    prepared.coco(data_dir, [(0.1, 0.25, 0.5, 0.75), (0.0, 0.0, 1.0, 1.0)])
    source = open_source("tfds:coco/2017", "train")
    objects = source.read(0).objects
    np.testing.assert_array_equal(objects.boxes, np.array([[10, 3, 30, 15], [0, 0, 40, 30]], np.float32))
    assert (
        objects.crowd.tolist() == [False, True] and objects.area.tolist() == [50, 51] and objects.labels.tolist() == [0, 1]
    )
    assert source.read(1).objects.boxes.shape == (0, 4)


def test_faulty_boxes_are_left_out_and_told_on_request(data_dir):
    prepared.coco(data_dir, [(0.1, 0.25, 0.5, 0.75), (0.5, 0.5, 0.5, 0.75), (0.1, 0.2, 0.9, 1.0)])
    source = open_source("tfds:coco/2017", "train")
    objects = source.read(0).objects
    assert (
        objects.labels.tolist() == [0, 2] and objects.crowd.tolist() == [False, True] and objects.area.tolist() == [50, 52]
    )
    (problem,) = source.faults(0)
    assert (problem.file, problem.record) == ("tfds:coco/2017", "train/000000, object 1") and "empty" in problem.message
    assert not source.faults(1)


def test_labels_follow_the_class_list_that_is_given(data_dir):
    prepared.coco(data_dir, [(0.1, 0.2, 0.5, 0.7)] * 3)
    source = open_source("tfds:coco/2017", "val", ("car", "persn", "bicycle"))
    assert source.read(0).objects.labels.tolist() == [2, 0]
    problem = next(p for p in source.problems if p.field == "class")
    assert (problem.value, problem.effect) == ("person", "object left out") and "Did you mean 'persn'?" in problem.cure
    prepared.cifar10(data_dir)
    source = open_source("tfds:cifar10", "train", ("bird", "airplane"))
    assert [source.read(i).label for i in range(3)] == [1, None, 0]


def test_an_image_that_does_not_decode_names_data_set_and_record(data_dir):
    features = prepared.F.FeaturesDict({"image": prepared.F.Image(), "label": prepared.F.ClassLabel(names=["a"])})
    prepared.prepare(data_dir, "mine", features, {"train": [{"image": b"\x89PNG\r\n\x1a\nbroken", "label": 0}]})
    for image in (True, False):
        with pytest.raises(RecordError, match=r"tfds:mine, train/000000: "):
            open_source("tfds:mine", "train").read(0, image)


def test_features_that_are_not_known_are_listed(data_dir):
    prepared.prepare(data_dir, "text", prepared.F.FeaturesDict({"words": prepared.F.Text()}), {"train": [{"words": "a"}]})
    with pytest.raises(DataError, match="no feature 'image', only words"):
        open_source("tfds:text", "train")
    features = prepared.F.FeaturesDict({"image": prepared.F.Image(), "caption": prepared.F.Text()})
    prepared.prepare(data_dir, "captions", features, {"train": [{"image": encoded(picture(0)), "caption": "a"}]})
    with pytest.raises(DataError, match=r"image, caption; this reader needs label, objects or semantic|caption, image; .*"):
        open_source("tfds:captions", "train")


def test_unknown_and_unprepared_names(data_dir):
    prepared.cifar10(data_dir)
    with pytest.raises(DataError, match=r"no data set 'cifar11'\. Did you mean 'cifar10'\? Prepared in .*: cifar10\."):
        open_source("tfds:cifar11", "train")
    with pytest.raises(DataError) as caught:
        open_source("tfds:voc/2007", "train")
    message = str(caught.value)
    assert "is not prepared" in message and "pip install tensorflow tensorflow-datasets array-record" in message
    assert f"tfds build voc/2007 --file_format=array_record --data_dir={data_dir}" in message
    with pytest.raises(DataError, match="downloaded by hand"):
        open_source("tfds:imagenet2012", "train")
    with pytest.raises(DataError, match="should read tfds:NAME"):
        open_source("tfds:../cifar10", "train")
    with pytest.raises(DataError, match=r"no version 9\.9\.9.*Known: 1\.0\.0"):
        open_source("tfds:cifar10:9.9.9", "train")
    assert len(open_source("tfds:cifar10:1.0.0", "train")) == 3
    with pytest.raises(DataError, match=r"no split 'tran'\. Did you mean 'train'"):
        open_source("tfds:cifar10", "tran")


def test_configs_and_versions_are_chosen(data_dir):
    folder = prepared.coco(data_dir)
    shutil.copytree(folder.parent, data_dir / "coco" / "2014")
    with pytest.raises(DataError, match="several configs: write one of tfds:coco/2014, tfds:coco/2017"):
        open_source("tfds:coco", "train")
    with pytest.raises(DataError, match=r"no prepared config '2018'.*Did you mean '2017'"):
        open_source("tfds:coco/2018", "train")
    shutil.copytree(folder, folder.parent / "0.9.0")
    shutil.copytree(folder, folder.parent / "1.0.0.incompleteABC")
    assert str(folder) in open_source("tfds:coco/2017", "train")._folder


def test_other_formats_are_answered_with_the_conversion(data_dir):
    folder = prepared.cifar10(data_dir)
    path = folder / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "tfrecord"}))
    with pytest.raises(DataError, match="prepared as tfrecord, not array_record") as caught:
        open_source("tfds:cifar10", "train")
    assert f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record" in str(caught.value)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_metadata(data_dir, file):
    folder = prepared.cifar10(data_dir)
    text = (folder / file).read_text()
    for length in (0, 1, len(text) // 2, len(text) - 2):
        (folder / file).write_text(text[:length])
        with pytest.raises(DataError, match=r"tfds:cifar10: the metadata in .* cannot be read"):
            open_source("tfds:cifar10", "train")


def test_a_damaged_record_file(data_dir):
    folder = prepared.cifar10(data_dir)
    (path,) = folder.glob("*train*")
    path.write_bytes(b"\0" * 100)
    with pytest.raises(RecordError, match=r"the record cannot be read.*Prepare the data set"):
        open_source("tfds:cifar10", "train").read(0)


@pytest.fixture
def few_shapes(data_dir, monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", {"train": 5, "val": 3})


def test_shapes(few_shapes, data_dir):
    source = open_source("shapes", "train")
    assert len(source) == 5 and source.name == "shapes" and (data_dir / "shapes").is_dir()
    assert source.semantic_classes == ("background", *source.classes)
    assert source.area_ranges == RECIPES["shapes"].area_ranges
    example = source.read(3, masks=True)
    objects = example.objects
    assert example.image.shape == (128, 128, 3) and example.label is None
    for box, mask, area, label in zip(objects.boxes, objects.masks, objects.area, objects.labels, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert area == mask.sum() and (example.semantic[mask] == label + 1).all()
    assert (objects.masks.any(axis=0) == (example.semantic > 0)).all() and not source.faults(3) and example.cells is None
    cells = source.read(3, masks="cells")
    assert cells.objects.masks is None and cells.cells.dtype == np.int32 and (cells.semantic == example.semantic).all()
    np.testing.assert_array_equal(cells.cells, np.select(list(objects.masks), range(1, len(objects.boxes) + 1)))
    assert split_names("shapes") == ("train", "val")


def test_single_shapes(few_shapes):
    source = open_source("shapes:single", "val")
    assert source.name == "shapes:single" and len(source) == 3
    for index in range(3):
        example = source.read(index)
        assert example.objects.labels.tolist() == [example.label]
    with pytest.raises(DataError, match="Did you mean 'single'"):
        open_source("shapes:singel", "val")
    with pytest.raises(DataError, match="no config"):
        split_names("shapes:singel")


def test_reading_needs_no_tensorflow(data_dir):
    prepared.coco(data_dir)
    program = (
        "import sys; from cnnvision.data.sources import open_source; open_source('tfds:coco', 'train').read(0, masks=True);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
