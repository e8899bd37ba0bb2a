"""The TFDS builder of `shapes`: what is written is what was drawn, without TensorFlow, whole or not at all."""

import os
import pickle
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tqdm import auto as tqdm

from cnnvision.data import shapes
from cnnvision.data.shapes.drawing import draw
from cnnvision.errors import DataError

SMALL = {"train": 6, "val": 3}


@pytest.fixture(autouse=True)
def small_splits(monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", SMALL)


def decode(png):
    """uint8 [h, w] or [h, w, 3] RGB."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else image[..., ::-1]


def run(program, folder):
    """Runs Python in a process of its own, with small splits and `data_dir`, where TensorFlow is installed but a trap."""
    trap = folder / "packages" / "tensorflow"
    trap.mkdir(parents=True, exist_ok=True)
    (trap / "__init__.py").write_text("raise AssertionError('TensorFlow is imported')")
    head = f"from cnnvision.data import shapes\nshapes.SPLITS = {SMALL}\ndata_dir = {str(folder / 'data')!r}\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(trap.parent), *filter(None, sys.path)))}
    return subprocess.run([sys.executable, "-c", head + program], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("config", ["shapes", "single"])
def test_reading_gives_what_was_drawn(config, tmp_path):
    builder = shapes.prepare(config, tmp_path, progress=False)
    for split, count in SMALL.items():
        source = builder.as_data_source(split, decoders=builder.encoded)
        assert len(source) == count
        for index in range(count):
            record, expected = source[index], draw(config, split, index)
            assert record["image/filename"] == f"{split}_{index:05d}.png".encode()
            np.testing.assert_array_equal(decode(record["image"]), expected.image)
            np.testing.assert_array_equal(decode(record["instances"]), expected.instances)
            np.testing.assert_array_equal(decode(record["semantic"]), expected.semantic)
            objects = record["objects"]
            y1, x1, y2, x2 = np.asarray(objects["bbox"]).T * 128
            np.testing.assert_array_equal(np.stack([x1, y1, x2, y2], axis=1), expected.boxes)
            np.testing.assert_array_equal(objects["label"], expected.labels)
            np.testing.assert_array_equal(objects["area"], expected.areas)
            np.testing.assert_array_equal(objects["full_area"], expected.full_areas)
            assert ("label" in record) == (config == "single")
            if config == "single":
                assert record["label"] == expected.labels[0]


@pytest.mark.parametrize("config", ["shapes", "single"])
def test_names_and_area_ranges_travel_with_the_data(config, tmp_path):
    shapes.prepare(config, tmp_path, progress=False)
    builder = shapes.prepare(config, tmp_path, progress=False)  # reads what is on disk
    names = ["circle", "square", "triangle", "star", "cross", "ring"]
    assert builder.info.features["objects"]["label"].names == names
    assert builder.info.features["semantic"].names == ["background", *names]
    ranges = builder.info.metadata["area_ranges"]
    assert {name: tuple(bounds) for name, bounds in ranges.items()} == shapes.RECIPES[config].area_ranges
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == SMALL


def test_the_data_set_has_two_thousand_five_hundred_images():
    from cnnvision.data.shapes import drawing

    assert drawing.SPLITS == {"train": 2000, "val": 500}


def test_preparing_twice_draws_once(tmp_path, monkeypatch):
    first = shapes.prepare("shapes", tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(shapes, "draw", None)
    second = shapes.prepare("shapes", tmp_path)
    assert second.data_dir == first.data_dir
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_neither_writing_nor_reading_imports_tensorflow(tmp_path):
    program = (
        "for config in ('shapes', 'single'):\n"
        "    builder = shapes.prepare(config, data_dir, progress=False)\n"
        "    builder.as_data_source('train', decoders=builder.encoded)[0]\n"
    )
    result = run(program, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "TensorFlow is imported" in run("import tensorflow", tmp_path).stderr  # the trap works


def test_a_progress_bar_of_our_own_and_nothing_else_is_shown(tmp_path):
    for config, progress in (("shapes", True), ("single", False)):
        result = run(f"shapes.prepare({config!r}, data_dir, progress={progress})", tmp_path)
        assert result.returncode == 0 and result.stdout == ""
        assert ("6/6" in result.stderr and "3/3" in result.stderr) == progress
        lines = result.stderr.replace("\r", "\n").splitlines()
        assert all(line.startswith("Drawing shapes/shapes ") for line in lines if line), result.stderr


def test_a_user_s_choice_about_tfds_bars_is_left_alone(tmp_path):
    from tensorflow_datasets.core.utils import tqdm_utils

    tqdm_utils.enable_progress_bar()  # other tests silence TFDS's own preparations
    shapes.prepare("shapes", tmp_path, progress=False)
    assert isinstance(tqdm_utils.tqdm([], disable=True), tqdm.tqdm)


def test_killed_in_the_middle_nothing_is_taken_for_a_data_set(tmp_path):
    program = (
        "import os, signal\n"
        "original = shapes.draw\n"
        "def draw(config, split, index):\n"
        "    if (split, index) == ('val', 1):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(config, split, index)\n"
        "shapes.draw = draw\n"
        "shapes.prepare('shapes', data_dir, progress=False)\n"
    )
    assert run(program, tmp_path).returncode == -signal.SIGKILL
    builder = shapes.Shapes(config="shapes", data_dir=tmp_path / "data")
    assert not builder.data_path.exists()
    assert len(shapes.prepare("shapes", tmp_path / "data", progress=False).as_data_source("train")) == SMALL["train"]


def test_two_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    """While the first is drawing its last image, the second prepares everything."""
    inner = []

    def draw_slowly(config, split, index):
        if (split, index) == ("val", SMALL["val"] - 1) and not inner:
            inner.append(True)
            inner.append(shapes.prepare(config, tmp_path, progress=False))
        return draw(config, split, index)

    monkeypatch.setattr(shapes, "draw", draw_slowly)
    outer = shapes.prepare("shapes", tmp_path, progress=False)
    for builder in (outer, inner[1]):
        records = builder.as_data_source("val", decoders=builder.encoded)
        np.testing.assert_array_equal(decode(records[2]["image"]), draw("shapes", "val", 2).image)
    assert not list(tmp_path.rglob("*incomplete*"))


def test_another_process_may_finish_before_this_one_begins(tmp_path, monkeypatch):
    original = shapes.Shapes.download_and_prepare

    def late(builder):
        original(shapes.Shapes(config="shapes", data_dir=tmp_path, file_format="array_record"))
        original(builder)

    monkeypatch.setattr(shapes.Shapes, "download_and_prepare", late)
    assert len(shapes.prepare("shapes", tmp_path, progress=False).as_data_source("train")) == SMALL["train"]


def test_builder_and_source_can_be_pickled(tmp_path):
    """As Grain's worker processes need it."""
    builder = shapes.prepare("single", tmp_path, progress=False)
    source = builder.as_data_source("val", decoders=builder.encoded)
    again = pickle.loads(pickle.dumps(source))
    assert again[1]["image"] == source[1]["image"] and len(again) == SMALL["val"]
    assert len(pickle.loads(pickle.dumps(builder)).as_data_source("val")) == SMALL["val"]


def test_errors_name_the_cure(tmp_path):
    with pytest.raises(DataError, match=r"'singel'.*Did you mean 'single'\?"):
        shapes.prepare("singel", tmp_path)
    folder = tmp_path / "shapes" / "shapes" / str(shapes.Shapes.VERSION)
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"shapes.1\.1\.0: no complete data set.*Delete or rename"):
        shapes.prepare("shapes", tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DataError, match=r"cannot be written.*TFDS_DATA_DIR"):
        shapes.prepare("single", file)


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    """array_record says it with a RuntimeError."""

    def draw_onto_a_full_disk(config, split, index):
        raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(shapes, "draw", draw_onto_a_full_disk)
    with pytest.raises(DataError, match=r"1\.1\.0: cannot be written .*No space left.*Make room there"):
        shapes.prepare("shapes", tmp_path, progress=False)
    assert not list(tmp_path.rglob("*1.1.0*"))
