"""The strings that name data sets."""

import pytest

from cnnvision.data.sources import KINDS, open_source, split_names
from cnnvision.errors import DataError
from tests.data.planted import coco_set, csv_set, folder_set, instances_set, masks_set, voc_set

SETS = {
    "voc": voc_set,
    "coco": coco_set,
    "instances": instances_set,
    "masks": masks_set,
    "csv": csv_set,
    "folder": folder_set,
}


@pytest.mark.parametrize(("kind", "make"), SETS.items())
def test_a_bare_folder_is_read_as_its_kind(tmp_path, kind, make):
    make(tmp_path)
    source = open_source(str(tmp_path), "train")
    assert source.name == f"{kind}:{tmp_path}" and source.problems[0].message.endswith(f"is taken for {source.name}")
    assert len(open_source(f"{kind}:{tmp_path}", "train")) >= 2
    years = ("2017",) if kind == "coco" else ("",)
    assert split_names(f"{kind}:{tmp_path}") == tuple(f"{split}{years[0]}" for split in ("train", "val"))


def test_a_table_of_classes_is_no_csv_of_boxes(tmp_path):
    masks_set(tmp_path)
    (tmp_path / "classes.csv").write_text("value,name\n0,a\n255,b\n")
    assert open_source(str(tmp_path), "train").name == f"masks:{tmp_path}"


def test_of_two_readings_none_is_taken(tmp_path):
    voc_set(tmp_path)
    coco_set(tmp_path)
    with pytest.raises(DataError, match=f"in 2 ways: name one of voc:{tmp_path} and coco:{tmp_path}"):
        open_source(str(tmp_path), "train")


def test_a_folder_of_no_kind(tmp_path):
    with pytest.raises(DataError, match="looks like none"):
        open_source(str(tmp_path), "train")


@pytest.mark.parametrize("name", ["vco:somewhere", "vocc:somewhere", "VOC:somewhere"])
def test_a_misspelt_kind_is_answered_with_the_nearest(name):
    with pytest.raises(DataError, match="Did you mean 'voc'") as caught:
        open_source(name, "train")
    for kind in KINDS.values():
        assert kind.form in str(caught.value)


@pytest.mark.parametrize("name", ["", ":", "voc:", "csv", "folder:", "tfds:", "nothing", "/no/such/folder"])
def test_names_that_name_nothing(name):
    with pytest.raises(DataError):
        open_source(name, "train")
    with pytest.raises(DataError):
        split_names(name)


def test_splits_are_listed_train_first(tmp_path):
    voc_set(tmp_path)
    for name in ("aaa", "test", "trainval"):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("a\n")
    assert split_names(f"voc:{tmp_path}") == ("train", "val", "aaa", "test", "trainval")
