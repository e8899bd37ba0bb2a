"""`folder:DIR`: class folders."""

import os
import pickle
import shutil

import numpy as np
import pytest

from cnnvision.data.decode import image_size
from cnnvision.data.faults import EmptyDataError, RecordError
from cnnvision.data.sources import open_source
from cnnvision.data.sources.folders import split_names
from cnnvision.errors import DataError
from tests.data.planted import encoded, exif, folder_set, picture, write


def opened(root, split="train", classes=None):
    return open_source(f"folder:{root}", split, classes)


def faults(source):
    return {(p.file, p.effect) for p in source.problems}


def test_a_sound_folder(tmp_path):
    source = opened(folder_set(tmp_path))
    assert source.classes == ("cat", "dog") and source.split == "train" and not source.problems
    assert source.ids == tuple(f"train/{name}/{i}.png" for name in ("cat", "dog") for i in range(3))
    example = source.read(4)
    assert example.id == "train/dog/1.png" and example.label == 1 and example.objects is None and example.semantic is None
    np.testing.assert_array_equal(example.image, picture(5))
    assert example.size == (30, 40)
    assert source.read(4, image=False).image is None
    assert len(opened(tmp_path, "val")) == 4 and split_names(str(tmp_path)) == ("train", "val")


def test_a_source_travels_between_processes(tmp_path):
    source = pickle.loads(pickle.dumps(opened(folder_set(tmp_path))))
    np.testing.assert_array_equal(source.read(0).image, picture(1))


def test_sizes_are_upright(tmp_path):
    write(folder_set(tmp_path) / "train" / "cat" / "turned.jpg", encoded(picture(9), "JPEG", exif=exif(6)))
    source = opened(tmp_path)
    index = source.ids.index("train/cat/turned.jpg")
    assert source.read(index, image=False).size == (40, 30) and source.read(index).image.shape == (40, 30, 3)


def test_folders_within_class_folders_are_searched(tmp_path):
    write(folder_set(tmp_path) / "train" / "cat" / "deep" / "er" / "x.JPG", encoded(picture(9), "JPEG"))
    assert "train/cat/deep/er/x.JPG" in opened(tmp_path).ids


def test_without_split_folders_files_are_divided_by_their_names(tmp_path):
    for name in ("cat", "dog"):
        for i in range(100):
            write(tmp_path / name / f"{i}.png", encoded(picture(i, 4, 4)))
    train, val = opened(tmp_path), opened(tmp_path, "val")
    assert set(train.ids).isdisjoint(val.ids) and len(train) + len(val) == 200
    assert len(val) == 40 and split_names(str(tmp_path)) == ("",)
    assert sum(id.startswith("cat/") for id in val.ids) == 20, "one in five of each class"
    assert "160 images are train and 40 val" in train.problems[0].message and train.problems[0].effect == "kept"


def test_a_class_named_like_a_split_is_a_class(tmp_path):
    for name in ("train", "bus"):
        for i in range(20):
            write(tmp_path / name / f"{i}.png", encoded(picture(i, 4, 4)))
    assert opened(tmp_path).classes == ("bus", "train")


@pytest.mark.parametrize("name", ["validation", "valid", "test"])
def test_another_split_stands_for_val_and_says_so(tmp_path, name):
    (folder_set(tmp_path) / "val").rename(tmp_path / name)
    source = opened(tmp_path, "val")
    assert len(source) == 4 and source.split == "val" and f"{name!r} is used for it" in source.problems[0].message
    with pytest.raises(DataError, match=r"no split 'tran'\. Did you mean 'train'\? Known: "):
        opened(tmp_path, "tran")


def test_files_that_cannot_be_used_are_left_out_one_by_one(tmp_path):
    folder_set(tmp_path)
    write(tmp_path / "train" / "cat" / "empty.jpg", b"")
    write(tmp_path / "train" / "cat" / "text.jpg", "<html>not found</html>")
    write(tmp_path / "train" / "cat" / "notes.txt", "notes")
    write(tmp_path / "train" / "cat" / ".DS_Store", "x")
    write(tmp_path / "train" / "dog" / "Thumbs.db", "x")
    write(tmp_path / "train" / ".ipynb_checkpoints" / "x.png", encoded(picture(1)))
    write(tmp_path / "train" / "stray.png", encoded(picture(1)))
    write(tmp_path / "train" / "list.csv", "x")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "train" / "dog" / "dangling.png")
    source = opened(tmp_path)
    assert len(source) == 6 and source.classes == ("cat", "dog")
    assert faults(source) == {
        ("train/cat/empty.jpg", "left out"),
        ("train/cat/text.jpg", "left out"),
        ("train/cat/notes.txt", "left out"),
        ("train/stray.png", "left out"),
        ("train/dog/dangling.png", "left out"),
    }


def test_an_empty_class_folder_keeps_its_class(tmp_path):
    (folder_set(tmp_path) / "train" / "emu").mkdir()
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog", "emu") and faults(source) == {("train/emu", "kept")}


def test_class_names_that_differ_in_case(tmp_path):
    write(folder_set(tmp_path) / "train" / "Cat" / "x.png", encoded(picture(9)))
    source = opened(tmp_path)
    assert source.classes == ("Cat", "cat", "dog")
    (problem,) = source.problems
    assert problem.value == "cat" and "'Cat'" in problem.message and "Merge" in problem.cure


def test_a_class_that_training_does_not_know(tmp_path):
    (folder_set(tmp_path) / "val" / "dog").rename(tmp_path / "val" / "Dog")
    source = opened(tmp_path, "val")
    assert source.classes == ("cat", "dog") and len(source) == 2
    (problem,) = source.problems
    assert (problem.file, problem.value, problem.effect) == ("val/Dog", "Dog", "left out")
    assert "2 images" in problem.message and "Did you mean 'dog'?" in problem.cure


def test_labels_follow_the_class_list_that_is_given(tmp_path):
    source = opened(folder_set(tmp_path), classes=("emu", "dog", "cat"))
    assert [source.read(i, image=False).label for i in range(6)] == [2, 2, 2, 1, 1, 1] and not source.problems


def test_nothing_usable_is_an_error_of_its_own(tmp_path):
    folder_set(tmp_path)
    with pytest.raises(EmptyDataError, match=r"no usable example among 6 found") as caught:
        opened(tmp_path, classes=("cats", "dogs"))
    assert "Did you mean 'cats'?" in str(caught.value)
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(EmptyDataError, match=r"no usable example among 4 found:\n  4 x left out.*is empty"):
        opened(tmp_path, "val")
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "val")
    with pytest.raises(EmptyDataError):
        opened(tmp_path)


def test_a_file_that_breaks_or_changes_later_is_an_error_when_it_is_read(tmp_path):
    source = opened(folder_set(tmp_path))
    data = encoded(picture(1))
    (tmp_path / source.ids[0]).write_bytes(data[: len(data) // 2])
    (tmp_path / source.ids[1]).write_bytes(encoded(picture(1, 10, 10)))
    (tmp_path / source.ids[2]).unlink()
    for index, words in enumerate(("breaks off", "changed", "cannot be read")):
        with pytest.raises(RecordError, match=words) as caught:
            source.read(index)
        assert caught.value.problem.file == source.ids[index]
    assert source.read(0, image=False).label == 0


def test_real_class_folders(shared_data):
    source = opened(shared_data / "caltech3")
    assert source.classes == ("airplane", "face", "motorcycle") and len(source) == 1371 and not source.problems
    for index in (0, 700, 1370):
        path = shared_data / "caltech3" / source.ids[index]
        assert source.read(index).image.shape[:2] == source.read(index, image=False).size == image_size(path, "x")
