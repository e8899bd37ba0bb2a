"""experiments.rehearse: what it makes of processes that behave, and of those that do not."""

import pytest

from cnnvision.data.order import bucket
from experiments import rehearse


def rehearsed(tmp_path, monkeypatch, fault):
    said = []
    monkeypatch.setattr(rehearse, "train_command", lambda config: ["tests.experiments.pretended_run", fault])
    monkeypatch.setattr(rehearse, "steps_of", lambda config, overrides: 6)
    monkeypatch.setattr(rehearse, "PATIENCE", 2)
    monkeypatch.setattr(rehearse, "SLACK", 1.0)
    well = rehearse.run("any", processes=2, devices=1, workdir=str(tmp_path / "run"), limit=4.0, say=said.append)
    return well, said[-1]


def test_processes_that_behave(tmp_path, monkeypatch):
    well, table = rehearsed(tmp_path, monkeypatch, "none")
    assert well, table
    assert "process 1 was killed, the others ended: error: process 1 is gone" in table
    assert "all ended well, with the steps 1 to 6 logged once each" in table


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("exits", "process 1 ended with 1: config error: the batch is no multiple"),
        ("hangs", "no 3 steps within 4 s"),
        ("survives", "and [0] ended as if nothing had happened"),
        ("fails again", "processes 0 and 1 ended with 1: error: the checkpoint is damaged"),
        ("logs twice", "the log has the steps [1, 2, 3"),
    ],
)
def test_faults_are_named(tmp_path, monkeypatch, fault, words):
    well, table = rehearsed(tmp_path, monkeypatch, fault)
    assert not well and "FAULT" in table and words in table


def test_each_declared_size_is_met():
    config, seed = "configs/classifier_shapes.py:smoke", ("training.seed", "3")
    assert rehearse.steps_of(config, [seed]) == rehearse.STEPS
    sizes = ("data.more_sizes", str(tuple((32, 32 * n) for n in range(1, 20))))
    steps = rehearse.steps_of(config, [seed, sizes])
    met = [{bucket(3, step, 20) for step in range(count)} for count in (steps - 1, steps)]
    assert [len(each) for each in met] == [19, 20]
