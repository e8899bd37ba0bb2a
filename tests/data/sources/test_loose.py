"""Images to predict on: what is found, and that a result never lands outside the folder that was asked for."""

import os

import pytest

from cnnvision.data.sources.loose import LooseImages
from cnnvision.errors import DataError
from tests.data.planted import encoded, picture, write


@pytest.fixture
def folder(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/deep/y.png", "b/._x.png", "b/odd[1].png"):
        write(tmp_path / name, encoded(picture(1)))
    return tmp_path


def test_a_folder_is_searched_to_its_bottom_but_not_for_hidden_files(folder):
    assert LooseImages(str(folder)).ids == ("a/x.png", "b/deep/y.png", "b/odd[1].png", "b/x.png")


@pytest.mark.parametrize(
    "pattern, ids",
    [
        ("*/x.png", ("a/x.png", "b/x.png")),
        ("b/**/*.png", ("deep/y.png", "odd[1].png", "x.png")),
        ("a/../b/x.png", ("x.png",)),
        ("b/odd[1].png", ("odd[1].png",)),
    ],
)
def test_ids_lie_below_the_folder_that_holds_all(folder, pattern, ids):
    source = LooseImages(str(folder / pattern))
    assert source.ids == ids
    assert source.read(0).size == (30, 40)


def test_a_pattern_that_climbs_gives_no_id_that_climbs(folder, monkeypatch):
    monkeypatch.chdir(folder / "a")
    assert LooseImages("../*/x.png").ids == ("a/x.png", "b/x.png")


def test_what_lies_in_the_output_folder_is_left_out(folder):
    assert LooseImages(str(folder), without=folder / "b").ids == ("a/x.png",)
    with pytest.raises(DataError, match="no file below"):
        LooseImages(os.fspath(folder / "b"), without=folder)
