"""The command that compares runs in any folders."""

import json

import numpy as np
import pytest
from etils import epath

from cnnvision.errors import RunError
from cnnvision.evaluation.contributions import Contributions
from cnnvision.runs.configuration import to_json
from cnnvision.runs.defaults import base
from experiments import compare


@pytest.fixture
def run_of(tmp_path):
    """(folder, seed, keys, values of the images) -> its path, with what `train` would leave there."""

    def made(place, seed=0, values=(1, 0, 1), **keys):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        config = to_json(base())
        config["training"]["seed"] = seed
        config["optimizer"] |= keys
        config["model"] = {"name": "classifier"}
        data = {"classes": ["a"], "semantic_classes": [], "area_ranges": {}}
        (folder / "config.json").write_text(json.dumps({"config": config, "data": data, "versions": {}}))
        about = {"step": 4, "steps": 4, "compared": ["accuracy"]}
        means = {"accuracy": np.array(values, float)}
        Contributions(tuple("abc"), means).write(folder / "contributions.npz", about)
        return str(folder)

    return made


def test_runs_of_one_config_are_one_variant(run_of):
    runs = [run_of("x/first"), run_of("x/first_seed1", 1), run_of("y", 1, momentum=0.5), run_of("z", 0, momentum=0.5)]
    found = compare.grouped([epath.Path(run) for run in runs])
    assert {name: sorted(of_seeds) for name, of_seeds in found.items()} == {"first": [0, 1], "y": [0, 1]}
    report = compare.run(runs)
    assert "| first" in report and "2 seeds on 3 images" in report and "- accuracy: " in report


def test_runs_of_the_same_name_are_told_apart(run_of):
    report = compare.run([run_of("x/run"), run_of("y/run", momentum=0.5)])
    assert "| x/run" in report and "| y/run" in report


def test_data_may_have_moved(run_of):
    """Keys that change nothing of a result make no other variant."""
    first, second = run_of("a"), run_of("b", 1)
    path = f"{second}/config.json"
    content = json.load(open(path))
    content["config"]["data"]["threads"] = 7
    json.dump(content, open(path, "w"))
    assert "| a       | 2 " in compare.run([first, second])


def test_a_missing_seed_is_named(run_of):
    report = compare.run([run_of("a"), run_of("a_seed1", 1), run_of("b", momentum=0.5)])
    assert "- b, seed 1: no run, and no verdict without it; --config.training.seed=1 trains it" in report
    assert "better" not in report.splitlines()[-1]


def test_what_cannot_be_compared_is_one_line(run_of, tmp_path):
    with pytest.raises(RunError, match="runs of the same config and seed"):
        compare.run([run_of("a"), run_of("b")])
    with pytest.raises(RunError, match="is no run folder"):
        compare.run([str(tmp_path / "nothing")])


def test_tables_are_written(run_of, tmp_path):
    report = compare.run([run_of("a"), run_of("b", momentum=0.5)], output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "compare.md").read_text() == report + "\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv",
        "compare.md",
        "compare.tex",
        "compare_verdicts.csv",
    ]


def test_another_split_is_compared_where_it_was_evaluated(run_of):
    runs = [run_of("a"), run_of("b", momentum=0.5)]
    with pytest.raises(
        RunError, match=r"a/evaluation/test_contributions.npz is not there: `.*evaluate --workdir=.*--split=test"
    ):
        compare.run(runs, split="test")
    for run, right in zip(runs, ((1, 1, 1, 1), (0, 0, 1, 0)), strict=True):
        about = {"step": 4, "steps": 4, "compared": ["accuracy"]}
        found = Contributions(tuple("wxyz"), {"accuracy": np.array(right, float)})
        found.write(epath.Path(run) / "evaluation" / "test_contributions.npz", about)
    assert "One seed on 4 images" in compare.run(runs, split="test")
