"""What sources over image files share: folders, splits, and names of files."""

import os

import pytest

from cnnvision.data.faults import Findings
from cnnvision.data.sources import open_source
from cnnvision.data.sources.named_files import locate, near_file
from cnnvision.data.sources.records import RecordSource, class_cure
from cnnvision.data.sources.splits import resolve_split
from cnnvision.errors import DataError
from tests.data.planted import csv_set, encoded, picture, write


def opened(root, split="train") -> RecordSource:
    return open_source(f"csv:{root}", split)


@pytest.mark.parametrize(
    "name", ["../outside.png", "{root}/outside.png", "cat/../../outside.png", "link.png", "C:/x.png", r"..\x"]
)
def test_a_name_that_leaves_the_folder_is_never_opened(tmp_path, name):
    outside = write(tmp_path / "outside.png", encoded(picture(8)))
    root = csv_set(tmp_path / "data")
    os.symlink(outside, root / "train" / "link.png")
    with open(root / "train.csv", "a") as table:
        table.write(f"{name.format(root=tmp_path)},40,30,cat,1,2,3,4\n")
    source = opened(root)
    problem = next(p for p in source.problems if p.field == "filename")
    assert len(source) == 3 and problem.effect == "left out" and "outside" in problem.message
    assert problem.record == "row 5" and problem.value == name.format(root=tmp_path)


def test_a_linked_data_set_is_inside_itself(tmp_path):
    csv_set(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data")
    assert len(opened(tmp_path / "data")) == 3 and not opened(tmp_path / "data").problems


def test_missing_splits_and_folders(tmp_path):
    csv_set(tmp_path / "data")
    with pytest.raises(DataError, match=r"has no split 'test'.*Known: train, val"):
        opened(tmp_path / "data", "test")
    with pytest.raises(DataError, match=r"there is no folder 'dta'.*Did you mean 'data'"):
        opened(tmp_path / "dta")
    with pytest.raises(DataError, match="is a file"):
        opened(tmp_path / "data" / "train.csv")


def test_names_are_looked_up_in_the_first_folder_that_has_them(tmp_path):
    write(tmp_path / "one" / "a.png", b"x")
    write(tmp_path / "two" / "a.png", b"x")
    write(tmp_path / "two" / "sub" / "b.png", b"x")
    folders = (tmp_path / "one", tmp_path / "two")
    assert locate("a.png", folders) == str(tmp_path / "one" / "a.png")
    for name in ("sub\\b.png", "./sub//b.png"):
        assert locate(name, folders) == str(tmp_path / "two" / "sub" / "b.png")
    assert locate("c.png", folders) is None and locate("sub", folders) is None
    for name in ("", "../two/a.png", "/etc/hostname", "a\0.png", "sub/../../a.png"):
        with pytest.raises(ValueError):
            locate(name, folders)


def test_only_the_first_missing_files_are_compared_with_those_that_are_there(tmp_path):
    write(tmp_path / "cat_1.png", b"x")
    findings = Findings()
    assert near_file("cat1.png", tmp_path, findings) == " Did you mean 'cat_1.png'?"
    assert near_file("quite another", tmp_path, findings) == near_file("no/folder.png", tmp_path, findings) == ""
    for _ in range(50):
        findings.add("a", "b", "c", "kept")
    assert near_file("cat1.png", tmp_path, findings) == ""


def test_splits_that_stand_for_others():
    findings = Findings()
    assert resolve_split("x", "val", ("train", "val", "validation"), findings) == "val" and not findings.problems
    assert resolve_split("x", "val", ("test", "validation"), findings) == "validation"
    assert resolve_split("x", "val", ("train", "test"), findings) == "test"
    assert [p.effect for p in findings.problems] == ["kept", "kept"]
    for split in ("train", "test", "valid"):
        with pytest.raises(DataError, match="Known: val"):
            resolve_split("x", split, ("val",), findings)


def test_long_lists_of_classes_are_not_printed_whole():
    classes = tuple(f"class {i}" for i in range(1000))
    assert "Did you mean 'class 77'?" in class_cure("clas 77", classes) and len(class_cure("clas 77", classes)) < 200
    assert "Known: a, b." in class_cure("x", ("a", "b"))
    assert class_cure("square", classes).endswith(f"Known: {', '.join(classes[:3])}, … {len(classes) - 3} more.")
