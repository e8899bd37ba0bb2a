"""Run folders of older versions: their config.json comes in the keys and values of today."""

import json

import pytest

from cnnvision.errors import ConfigError
from cnnvision.models import make_task
from cnnvision.runs import config_json, older
from cnnvision.runs.configuration import from_json, load_config, to_json
from cnnvision.runs.join import check_config
from cnnvision.task import DataInfo
from tests.conftest import ROOT

INFO = DataInfo(("cell",), ("background", "cell"))


@pytest.fixture
def of_older_version(tmp_path):
    """A config of today, and a run folder of it as the version wrote it whose keys were called otherwise."""
    now = load_config(f"{ROOT}/configs/unet_membrane.py:smoke", [("training.ema_decay", "0.9")])
    config = to_json(now)
    config["data"]["fit"] = config["data"].pop("resize")
    config["model"]["average"] = config["model"].pop("tta")
    config["training"]["average_decay"] = config["training"].pop("ema_decay")
    content = {"config": config, "data": to_json(vars(INFO)), "versions": {"cnnvision": "0.1.0"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    return now, tmp_path


def test_a_run_folder_of_an_older_version_opens_and_goes_on(of_older_version):
    now, workdir = of_older_version
    found = from_json(config_json.read(workdir)["config"])
    assert found == from_json(to_json(now))
    assert found.data.resize == "tile" and found.model.tta == "flips" and found.training.ema_decay == 0.9
    config_json.check(now, INFO, workdir)
    assert make_task(found, INFO).inputs.resize == "tile"


def test_a_value_that_meant_none_is_none():
    defaults = {"data": {"margin": None, "eval_examples": None}}
    read = lambda **data: older.as_of_now({"data": data}, defaults)["data"]
    assert read(margin=-1, eval_examples=0) == {"margin": None, "eval_examples": None}
    assert read(margin=8) == {"margin": 8, "eval_examples": None}
    of_model = lambda section: older.as_of_now({"model": section}, {})["model"]
    assert of_model({"decoder": {"widths": []}, "regions": {"samples": 0}}) == {
        "decoder": {"widths": None}, "regions": {"samples": None}
    }  # fmt: skip
    assert of_model({"decoder": {"widths": [8, 4]}}) == {"decoder": {"widths": [8, 4]}}


def holds(config, key):
    for name in key.split("."):
        if not hasattr(config, "items") or name not in config:
            return False
        config = config[name]
    return True


@pytest.mark.parametrize("key", older.VALUE_NOW)
def test_what_meant_none_is_refused_today(key):
    """Else a run folder of today that holds it would be read as another run."""
    every = (load_config(str(path)) for path in sorted((ROOT / "configs").glob("*_*.py")) if path.stem != "__init__")
    config = next(config for config in every if holds(config, key))
    *sections, name = key.split(".")
    section = config.unlock()
    for each in sections:
        section = section[each]
    for value in older.VALUE_NOW[key]:
        with section.ignore_type():
            section[name] = value
        with pytest.raises(ConfigError, match=rf"config\.{key} = "):
            check_config(config, 1)
            make_task(config, INFO)


def test_a_key_moves_to_another_section_and_a_value_gets_its_name(monkeypatch):
    monkeypatch.setattr(older, "RENAMED", {"model.size": "model.rois.size", "model.gone": "model.here"})
    monkeypatch.setattr(older, "VALUE_NOW", {"model.rois.size": {0: None}, "model.rois.none": {"": None}, "data.x": {0: 1}})
    before = {"model": {"size": 0, "rois": {"pooling": "align"}}}
    now = older.with_values_of_now(older.renamed(before))
    assert now == {"model": {"rois": {"pooling": "align", "size": None}}}
    assert before == {"model": {"size": 0, "rois": {"pooling": "align"}}}, "what was read is left as it is"
    assert older.renamed({"model": {"size": 7}}) == {"model": {"rois": {"size": 7}}}
    assert older.with_values_of_now({"model": {"rois": {"size": [0]}}}) == {"model": {"rois": {"size": [0]}}}
    assert older.renamed({"model": "no section"}) == {"model": "no section"}
