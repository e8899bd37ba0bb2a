"""The cells of a grid: each is trained once, whatever fails, stops or is killed; devices in equal shares."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest
from etils import epath
from ml_collections import ConfigDict

from cnnvision.errors import ConfigError, DataError, Stopped
from cnnvision.runs import cells as cells_module
from cnnvision.runs.cells import shares, train_cells
from cnnvision.runs.grid import Cell
from cnnvision.training.stopping import StopRequest
from tests.conftest import ROOT
from tests.experiments.pretended_run import is_dead

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """Four cells, and a list of those that were trained; a cell is finished once it was."""
    trained = []
    monkeypatch.setattr(Cell, "finished", property(lambda cell: cell.name in trained))
    config = ConfigDict({"data": {"source": "shapes", "train_split": "train"}})
    monkeypatch.setattr(cells_module, "open_source", lambda source, split: None)
    made = [Cell(name, 0, config, epath.Path(tmp_path) / name, ()) for name in "abcd"]
    return made, trained


@pytest.fixture
def pretended(monkeypatch, cells):
    """Sets what training does: (cell's name) -> metrics."""

    def becomes(train):
        def run(name):
            metrics = train(name)
            if metrics:
                cells[1].append(name)
            return metrics

        monkeypatch.setattr("cnnvision.runs.agreement.join_together", lambda config, folder, say: folder.name)
        monkeypatch.setattr("cnnvision.training.loop.train", run)

    return becomes


def test_what_fails_is_noted_and_the_others_go_on(cells, pretended, capsys):
    def train(name):
        if name == "b":
            raise DataError("data/x.jpg: is no picture")
        if name == "c":
            raise ValueError("a bug")
        return {"accuracy": 1.0}

    pretended(train)
    made, trained = cells
    said = []
    train_cells(made, say=said.append)
    assert trained == ["a", "d"] and [cell.failure for cell in made] == [
        "",
        "data/x.jpg: is no picture",
        "ValueError: a bug",
        "",
    ]
    assert "Traceback" in capsys.readouterr().err and "b failed: data/x.jpg: is no picture" in said
    pretended(lambda name: {"accuracy": 1.0})
    train_cells(made, say=said.append)
    assert trained == ["a", "d", "b", "c"] and not any(cell.failure for cell in made)
    assert "2 of 4 runs are finished" in said


def test_a_run_that_stops_before_its_end_stops_all(cells, pretended):
    pretended(lambda name: {} if name == "b" else {"accuracy": 1.0})
    with pytest.raises(Stopped, match="b: stopped before its end; the same command goes on from there"):
        train_cells(cells[0], say=lambda line: None)
    assert cells[1] == ["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_step_of_a_run_stops_before_the_next(cells, pretended, number):
    def train(name):
        with StopRequest():  # as the loop has it
            if name == "b":
                os.kill(os.getpid(), number)
        return {"accuracy": 1.0}

    pretended(train)
    with pytest.raises(Stopped, match=f"{signal.Signals(number).name}.*the same command goes on"):
        train_cells(cells[0], say=lambda line: None)
    assert cells[1] == ["a", "b"]


def of(files):
    return lambda pattern: [file for file in files if file.startswith(pattern.split("[")[0])]


@needs_two_cores
@pytest.mark.parametrize(
    "environment, files, variables",
    [
        ({}, ["/dev/nvidia0", "/dev/nvidia1"], [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        ({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, [], [{"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "6,7"}]),
        ({"JAX_PLATFORMS": "cpu"}, ["/dev/nvidia0", "/dev/nvidia1"], [{}, {}]),
    ],
)
def test_devices_in_equal_shares(environment, files, variables):
    places = shares(2, environment, of(files))
    assert [place.variables for place in places] == variables
    assert all(bool(place.cores) == (not place.variables) for place in places)
    assert not places[0].cores & places[1].cores


def test_chips_of_a_tpu_in_equal_shares():
    places = shares(4, {}, of([f"/dev/accel{index}" for index in range(8)]))
    assert [place.variables["TPU_VISIBLE_CHIPS"] for place in places] == ["0,1", "2,3", "4,5", "6,7"]
    assert {place.variables["TPU_CHIPS_PER_PROCESS_BOUNDS"] for place in places} == {"1,2,1"}
    assert len({place.variables["TPU_MESH_CONTROLLER_PORT"] for place in places}) == 4


@pytest.mark.parametrize(
    "count, environment, message",
    [
        (3, {"CUDA_VISIBLE_DEVICES": "0,1"}, "--at-once=3: this machine has 2 GPUs"),
        (10_000, {}, r"--at-once=10000: this machine has \d+ core"),
    ],
)
def test_more_processes_than_devices_are_refused(count, environment, message):
    with pytest.raises(ConfigError, match=message):
        shares(count, environment, lambda pattern: [])


@pytest.fixture
def processes(monkeypatch, tmp_path, cells):
    """Cells that are processes: `python -c CODE FOLDER` in place of a run, finished where they leave a file `done`."""
    monkeypatch.setattr(Cell, "finished", property(lambda cell: (cell.folder / "done").exists()))
    popen = subprocess.Popen

    def becomes(code):
        program = f"import os, pathlib, signal, sys, time; folder = pathlib.Path(sys.argv[1]); {code}"
        start = lambda command, **options: popen([sys.executable, "-c", program, command[-1]], **options)
        monkeypatch.setattr(cells_module.subprocess, "Popen", start)

    for cell in cells[0]:
        cell.folder.mkdir()
    return [dataclasses.replace(cell, flags=(str(cell.folder),)) for cell in cells[0]], becomes


@needs_two_cores
def test_cells_at_once_have_cores_of_their_own(processes):
    made, becomes = processes
    becomes("print('on', sorted(os.sched_getaffinity(0))); time.sleep(.3); (folder / 'done').touch()")
    said = []
    train_cells(made, at_once=2, say=said.append)
    assert all(cell.finished for cell in made)
    assert len({line.split("on ")[1] for line in said if ": on [" in line}) == 2
    said.clear()
    train_cells(made, at_once=2, say=said.append)
    assert said == ["4 of 4 runs are finished"]


@needs_two_cores
def test_a_process_that_fails_is_noted(processes):
    made, becomes = processes
    becomes("'b' in folder.name and sys.exit('error: no such file'); (folder / 'done').touch()")
    train_cells(made, at_once=2, say=lambda line: None)
    assert [cell.failure for cell in made] == ["", "ended with 1: no such file", "", ""]


@needs_two_cores
def test_a_signal_is_passed_on_to_processes(processes):
    made, becomes = processes
    becomes(
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); os.kill({os.getpid()}, signal.SIGTERM); time.sleep(60)"
    )
    with pytest.raises(Stopped, match="SIGTERM"):
        train_cells(made, at_once=2, say=lambda line: None)
    assert not any(cell.finished or cell.failure for cell in made)


def test_a_cell_ends_with_the_process_that_began_it(tmp_path):
    """Killed with SIGKILL, a grid leaves no cell behind that would train on beside the same cell of the next grid."""
    child = f"""
import subprocess, sys, time
command = ["-m", "cnnvision.runs.attached", "train", "--config=classifier_shapes:smoke", "--workdir={tmp_path}"]
print(subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE).pid, flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    pid = int(owner.stdout.readline())
    time.sleep(0.5)
    assert not is_dead(pid)
    with owner:
        owner.kill()
    end = time.monotonic() + 20
    while not is_dead(pid):
        assert time.monotonic() < end
        time.sleep(0.05)
