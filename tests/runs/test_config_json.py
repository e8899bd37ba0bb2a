"""What a run folder promises: the same config and the same data, or a refusal."""

import dataclasses
import json

import pytest
from etils import epath

from cnnvision.data.sources import open_source
from cnnvision.errors import RunError, WeightsError
from cnnvision.models import make_task
from cnnvision.runs import config_json
from cnnvision.runs.configuration import from_json, load_config, to_json
from cnnvision.runs.join import data_info
from cnnvision.training.checkpoint import Checkpoints
from tests.conftest import ROOT
from tests.data.planted import csv_set

CONFIG = f"{ROOT}/configs/localizer_shapes.py"


@pytest.fixture
def recorded(tmp_path):
    """A run folder with its config.json; config and facts of its data."""
    info = data_info(open_source(f"csv:{csv_set(tmp_path / 'data')}", "train"))
    config, workdir = load_config(f"{CONFIG}:smoke"), epath.Path(tmp_path / "run")
    config_json.write(config, info, workdir)
    return config, info, workdir


def test_a_run_goes_on_with_its_own_config_alone(recorded):
    config, info, workdir = recorded
    config_json.check(config, info, workdir)
    config_json.check(load_config(f"{CONFIG}:smoke", [("data.source", "csv:moved"), ("training.keep", "5")]), info, workdir)
    with pytest.raises(RunError, match=r"another config \(config.model.alpha: 0.5 there, 0.9 now\)"):
        config_json.check(load_config(f"{CONFIG}:smoke", [("model.alpha", "0.9")]), info, workdir)
    with pytest.raises(RunError, match="the data's classes"):
        config_json.check(config, dataclasses.replace(info, classes=("dog",)), workdir)


def test_checkpoints_without_a_config_are_not_gone_on_from(recorded):
    config, info, workdir = recorded
    (workdir / "config.json").unlink()
    config_json.check(config, info, workdir)
    (workdir / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(RunError, match=r"has checkpoints, but no config\.json"):
        config_json.check(config, info, workdir)


@pytest.mark.parametrize("text", ["{", "[]", '{"config": 5, "data": {}, "versions": {}}', "\x00", '{"config": {}}'])
def test_a_config_json_that_was_changed(recorded, text):
    config, info, workdir = recorded
    (workdir / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json is not as"):
        config_json.check(config, info, workdir)


def test_a_run_from_before_a_key_was_there_goes_on(recorded):
    """At any depth of what all configs share; what it holds itself stays, a model's keys are its own."""
    config, info, workdir = recorded
    description = json.loads((workdir / "config.json").read_text())
    for section, key in (("data", "more_sizes"), ("training", "ema_decay")):
        del description["config"][section][key]
    del description["config"]["data"]["augment"]["zoom"]
    (workdir / "config.json").write_text(json.dumps(description))
    config_json.check(config, info, workdir)
    assert from_json(config_json.read(workdir)["config"]) == from_json(to_json(config))
    with pytest.raises(RunError, match=r"config.data.more_sizes: \[\] there, \[\[64, 96\]\] now"):
        config_json.check(load_config(f"{CONFIG}:smoke", [("data.more_sizes", "((64, 96),)")]), info, workdir)
    del description["config"]["model"]["alpha"]
    (workdir / "config.json").write_text(json.dumps(description))
    with pytest.raises(RunError, match=r"config.model.alpha: None there"):
        config_json.check(config, info, workdir)


def test_a_trained_network_needs_no_file_of_weights(recorded):
    config = load_config(CONFIG, [("model.pretrained", "gone.pth")])
    task = make_task(config, recorded[1])
    with pytest.raises(WeightsError, match=r"gone\.pth: there is no such file"):
        task.warm_start({}, {})


def test_a_run_that_was_killed_within_its_first_save_begins_anew(tmp_path):
    (tmp_path / "checkpoints" / "20.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not Checkpoints.exist(tmp_path)
