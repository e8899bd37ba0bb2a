"""What a folder holds: states of runs, a page while a grid still runs, errors that name the folder and the cure."""

import json
import shutil

import pytest

from cnnvision.errors import RunError
from experiments import report
from experiments.reports.page import gallery
from experiments.reports.page.subject import open_subject
from tests.experiments.reports.page import runs


@pytest.fixture
def grid(trained):
    return trained / "grid"


@pytest.fixture
def begun(grid, tmp_path):
    """A grid of which one run is on its way, one failed, and two have not begun."""
    place = tmp_path / "begun"
    running, failed = place / "alpha=0.1", place / "alpha=0.9"
    running.mkdir(parents=True)
    failed.mkdir()
    shutil.copy(grid / "grid.json", place)
    shutil.copy(grid / "alpha=0.1" / "config.json", running)
    first = runs.read(grid / "alpha=0.1" / "metrics.jsonl").splitlines()[0]
    (running / "metrics.jsonl").write_text(first + "\n" + first[:20])
    (failed / "failed.txt").write_text("the disk is full\n")
    return place


def test_a_grid_and_how_far_it_has_come(grid, begun):
    subject = open_subject(grid)
    assert subject.kind == "grid" and subject.variants == ["alpha=0.1", "alpha=0.9"] and subject.missing == []
    assert [(run.seed, run.state, run.step, run.steps) for run in subject.runs] == [
        (s, "finished", 4, 4) for s in (0, 0, 1, 1)
    ]
    subject = open_subject(begun)
    assert [run.state for run in subject.runs] == ["running", "failed", "waiting", "waiting"]
    assert subject.judged == {} and "alpha=0.9, seed 0: failed (the disk is full)" in subject.missing


def test_a_page_of_what_still_runs_needs_no_network(begun, monkeypatch):
    monkeypatch.setattr(gallery, "load", None)
    page = runs.Read(runs.read(report.run(begun, say=lambda line: None)))
    text = " ".join("".join(page.text).split())
    assert "1 running, 1 failed, 2 waiting" in text and "failed: the disk is full" in text and "loss (train)" in text
    assert "Results" not in text and runs.WHAT in text and "The command above goes on" in text


def test_folders_of_runs_without_a_grid(grid, tmp_path):
    for name in ("u-net", "encoder-decoder"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "metrics.jsonl"):
            shutil.copy(grid / "alpha=0.1" / file, tmp_path / name)
    (tmp_path / "ladder.csv").write_text("network,parameters,ms_an_image\nU-Net,5,1.5\nencoder-decoder,4,2.5\n")
    subject = open_subject(tmp_path)
    assert subject.kind == "ladder" and subject.variants == ["U-Net", "encoder-decoder"]
    page = runs.Read(runs.read(report.run(tmp_path, say=lambda line: None)))
    assert {value for *_, value in page.numbers} == {5, 1.5, 4, 2.5}


def broken(place, file, text):
    (place / file).write_text(text)


FAULTS = {
    "no folder": (lambda place: shutil.rmtree(place), r"begun is no folder: give that of a run.*train"),
    "nothing in it": (lambda place: [shutil.rmtree(place), place.mkdir()], "begun holds no run: neither grid.json nor"),
    "nothing logged": (
        lambda place: shutil.rmtree(place / "alpha=0.1"),
        r"nothing is logged yet.*disk is full.*ablate.*goes",
    ),
    "a grid of text": (lambda place: broken(place, "grid.json", "{"), r"grid.json cannot be read .*delete it"),
    "no cells": (lambda place: cells(place, []), "grid.json cannot be read: its cells are no runs.*delete it"),
    "a cell elsewhere": (lambda place: cells(place, [{"variant": "a", "seed": 0, "folder": "../x"}]), "delete it"),
    "a log of text": (lambda place: broken(place, "alpha=0.1/metrics.jsonl", "x\n"), "line 1: this is no entry.*Delete"),
    "a config of text": (lambda place: broken(place, "alpha=0.1/config.json", "x"), "config.json is not as.*Restore"),
}


def cells(place, wanted):
    content = json.loads(runs.read(place / "grid.json"))
    broken(place, "grid.json", json.dumps(content | {"cells": wanted}))


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_name_the_folder_and_the_cure(fault, begun):
    make, message = FAULTS[fault]
    make(begun)
    with pytest.raises(RunError, match=message) as caught:
        report.run(begun, say=lambda line: None)
    assert "\n" not in str(caught.value)


def test_damaged_contributions(grid, tmp_path):
    shutil.copytree(grid, tmp_path / "grid")
    (tmp_path / "grid" / "alpha=0.1" / "contributions.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"contributions.npz cannot be read .*: delete it"):
        report.run(tmp_path / "grid", say=lambda line: None)


def test_the_output_is_a_file(grid, tmp_path):
    with pytest.raises(RunError, match=r"--output: .* is a folder; name a file"):
        report.run(grid, tmp_path, say=lambda line: None)
