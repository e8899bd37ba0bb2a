"""Paths in buckets: run folders there, copies of data, and one line where something is wrong."""

import collections
import os
import pathlib
import shutil

import numpy as np
import pytest

from cnnvision import storage
from cnnvision.data.sources import open_source
from cnnvision.data.sources.loose import LooseImages
from cnnvision.errors import DataError, RunError
from cnnvision.pictures.sheets import write_png
from cnnvision.storage import absolute, check_writable, is_remote, local_copy, path_of, write_whole
from experiments import convert


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The folder of copies; nothing is remembered of those of other tests."""
    monkeypatch.setenv("CNNVISION_COPIES", str(tmp_path / "copies"))
    storage._copied.cache_clear()
    return tmp_path / "copies"


def fill(bucket, **files):
    for name, content in files.items():
        write_whole(f"{bucket}/{name.replace('__', '/')}", content)


def again(path):
    """`local_copy` of another process, which remembers nothing."""
    storage._copied.cache_clear()
    return pathlib.Path(local_copy(path))


def test_paths_of_this_machine_are_left_as_they_are(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(path_of("runs/a")) == "runs/a" and str(path_of("~/runs")) == "/home/me/runs"
    assert str(absolute(path_of("runs"))) == f"{os.getcwd()}/runs"
    assert local_copy("data/coco") == "data/coco"
    assert not is_remote("data:/x")


def test_a_path_of_a_bucket_stays_one(bucket):
    assert str(absolute(path_of(bucket)) / "a") == f"{bucket}/a"


def test_other_schemes_are_refused():
    with pytest.raises(RunError, match=r"s3://b/x: of the paths with a scheme, .* gs://BUCKET"):
        path_of("s3://b/x")


def test_without_gcsfs_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    storage.file_system.cache_clear()
    with pytest.raises(RunError, match=r"gs:// paths need gcsfs: pip install 'cnnvision\[gcs\]'"):
        path_of("gs://bucket/x")


@pytest.mark.parametrize("where", ["here", "bucket"])
def test_files_are_written_whole(request, tmp_path, where):
    folder = str(tmp_path / "a" / "b") if where == "here" else request.getfixturevalue("bucket")
    for content in (b"first", b"", "zweitens ä"):
        write_whole(f"{folder}/file", content)
        assert path_of(f"{folder}/file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in path_of(folder).iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", "old")

    def full(path, content):
        path.parent.joinpath(path.name).touch()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(type(path_of(tmp_path)), "write_bytes", full)
    with pytest.raises(OSError):
        write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_copied_and_kept_as_the_bucket_has_it(bucket, copies, capsys):
    fill(bucket, a="1", b__c="22", b__d="333")
    folder = again(bucket)
    contents = lambda: {f.relative_to(folder).as_posix(): f.read_text() for f in folder.rglob("*") if f.is_file()}
    assert contents() == {"a": "1", "b/c": "22", "b/d": "333"} and copies in folder.parents
    assert "3 of 3 files (0.0 MB)" in capsys.readouterr().out
    assert again(bucket) == folder and not capsys.readouterr().out

    (folder / "b/c").write_text("2")  # cut off
    shutil.copy(folder / "a", folder / "a.draft")  # left by a copy that was killed
    (path_of(bucket) / "b" / "d").unlink()
    fill(bucket, a="9")
    again(bucket)
    assert contents() == {"a": "9", "b/c": "22"}
    assert "2 of 2 files" in capsys.readouterr().out


def test_a_file_and_a_pattern_are_copied(bucket, copies):
    fill(bucket, a__1="1", a__2="2", b__1="3")
    assert again(f"{bucket}/a/2").read_text() == "2"
    pattern = again(f"{bucket}/*/1")
    root = copies / bucket.removeprefix("gs://")
    assert pattern == root / "*" / "1"
    assert {f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file()} == {"a/1", "a/2", "b/1"}


def test_what_cannot_be_copied_is_said(bucket, copies, monkeypatch):
    with pytest.raises(DataError, match=r"nothing: there is nothing of that name in the bucket"):
        local_copy(f"{bucket}/nothing")
    with pytest.raises(DataError, match=r"gs://nobucket/x.*(nothing of that name|no such bucket)"):
        local_copy("gs://nobucket/x")
    fill(bucket, a="12345")
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 6, 4))
    with pytest.raises(DataError, match=r"needs 0.00 GB more, .* CNNVISION_COPIES .* gcsfuse"):
        again(bucket)


def test_names_that_leave_the_folder_are_not_copied(bucket, copies, monkeypatch):
    file = {"type": "file", "size": 1, "updated": "2026-01-01T00:00:00Z"}
    monkeypatch.setattr(storage.file_system(), "find", lambda name, detail: {f"{name}/../../x": file})
    with pytest.raises(DataError, match=r"leaves its folder"):
        again(bucket)


def test_data_and_images_of_a_bucket_are_opened(bucket, copies):
    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    for name in ("train/cat/1", "train/dog/2", "val/cat/3", "val/dog/4"):
        write_png(f"{bucket}/{name}.png", picture)
    source = open_source(f"folder:{bucket}", "train")
    assert source.classes == ("cat", "dog") and len(source) == 2
    np.testing.assert_array_equal(source.read(0).image, picture)
    assert LooseImages(f"{bucket}/val").ids == ("cat/3.png", "dog/4.png")
    assert LooseImages(f"{bucket}/*/cat/*.png").ids == ("train/cat/1.png", "val/cat/3.png")
    assert open_source(bucket, "train").classes == ("cat", "dog")  # what it is, is seen by what lies in it


def test_errors_of_the_storage_are_told_in_a_line_and_others_are_not():
    class Refused(Exception):
        code = 403

    Refused.__module__ = "gcsfs.retry"
    assert storage.explain(Refused("no access\nat all")).startswith("Google Cloud Storage: no access. Log in")
    Refused.__module__ = "google.protobuf.message"
    assert storage.explain(Refused("truncated")) is None and storage.explain(ValueError("a bug")) is None
    denied = OSError("Forbidden: https://storage/b/bucket/o\nx@y does not have storage.objects.create access.")
    assert storage.explain(denied).startswith(
        "Google Cloud Storage: x@y does not have storage.objects.create access. Log in"
    )
    assert storage.explain(OSError(28, "No space left on device", "a/b")) == "a/b: No space left on device"


def test_convert_writes_nothing_that_looks_like_a_bucket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"convert writes to this machine. .*`gcloud storage cp -r DIR gs://bucket/x`"):
        convert.run("coco:anything", "coco:gs://bucket/x")
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_is_not_there_is_said_before_anything_is_written(bucket):
    check_writable(bucket)
    assert not path_of(bucket).exists()
    with pytest.raises(RunError, match=r"gs://nobucket/x cannot be written: there is no bucket 'nobucket'.* makes it"):
        check_writable("gs://nobucket/x")
