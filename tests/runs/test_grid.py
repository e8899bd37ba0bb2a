"""Grids: which cells there are, what may be added to one, and what is refused, in one line."""

import json

import pytest
from etils import epath

from cnnvision.errors import ConfigError, RunError
from cnnvision.runs.configuration import to_json
from cnnvision.runs.grid import of_sweep, read, variants_of

CONFIG = """
from cnnvision.models.classifier import Settings
from cnnvision.runs.defaults import base, section

def get_config():
    config = base()
    config.model = section(Settings(backbone=dict(name="resnet18"), pretrained=None))
    config.data.source = "shapes"
    return config

def sweep():
    return {sweep}
"""
TWO = {"a": {"optimizer.learning_rate": 0.1}, "b b": {"optimizer.learning_rate": 0.2, "training.steps": 7}}


@pytest.fixture
def grid_of(tmp_path):
    """(what sweep() returns, overrides, seeds) -> the grid of a config with it."""

    def made(sweep, overrides=(), seeds=1, name="swept"):
        path = tmp_path / f"{name}.py"
        path.write_text(CONFIG.replace("{sweep}", repr(sweep)))
        return of_sweep(str(path), overrides, epath.Path(tmp_path) / "grid", seeds, "ablate …")

    return made


def test_cells_by_hand(grid_of, tmp_path):
    cells = grid_of(TWO, [("training.seed", "5"), ("data.batch_size", "4")], seeds=2).cells()
    assert [(cell.variant, cell.seed, cell.name) for cell in cells] == [
        ("a", 5, "a"),
        ("b b", 5, "b_b"),
        ("a", 6, "a_seed6"),
        ("b b", 6, "b_b_seed6"),
    ]
    last = cells[-1]
    assert (last.config.training.seed, last.config.training.steps, last.config.optimizer.learning_rate) == (6, 7, 0.2)
    assert last.flags == (
        f"--config={tmp_path}/swept.py",
        f"--workdir={tmp_path}/grid/b_b_seed6",
        "--config.training.seed=5",
        "--config.data.batch_size=4",
        "--config.optimizer.learning_rate=0.2",
        "--config.training.steps=7",
        "--config.training.seed=6",
    )
    assert last.command.endswith(f"train {' '.join(last.flags)}")
    assert not last.finished and last.failure == ""


def test_the_flags_of_a_cell_make_its_config(grid_of):
    from cnnvision.runs.configuration import load_config

    for cell in grid_of(TWO, [("data.augment.crop_area", "(0.5, 1)")], seeds=2).cells():
        config, _, *keys = cell.flags
        overrides = [tuple(key.removeprefix("--config.").split("=", 1)) for key in keys]
        assert to_json(load_config(config.removeprefix("--config="), overrides)) == to_json(cell.config)


def test_factors_are_combined_each_with_each():
    found = variants_of({"model.alpha": (0.1, 0.9), "data.size": [(8, 8), (16, 16)]}, "x")
    assert list(found) == ["alpha=0.1,size=8_8", "alpha=0.1,size=16_16", "alpha=0.9,size=8_8", "alpha=0.9,size=16_16"]
    assert found["alpha=0.9,size=8_8"] == {"model.alpha": 0.9, "data.size": (8, 8)}


@pytest.mark.parametrize("sweep", [{}, [1], {"a": 1}, {"a": {}, "b": [1]}, {3: {}}, None])
def test_what_is_no_sweep_is_said(sweep):
    with pytest.raises(ConfigError, match=r"sweep\(\) of x: must be a dict of name"):
        variants_of(sweep, "x")


@pytest.mark.parametrize(
    "sweep, seeds, message",
    [
        ({"a": {"model.alhpa": 1}}, 1, r"config.model has no key 'alhpa'.* \(The variant 'a' of sweep\(\) sets it"),
        ({"a": {"training.seed": 1}}, 1, "sets training.seed; all variants have the same seeds"),
        ({"a": {"training.steps": 7}, "b": {"training.steps": 7}}, 1, "the variants 'a' and 'b' are the same config"),
        ({"a": {}, "b": {"training.steps": 1000}}, 1, "the variants 'a' and 'b' are the same config"),
        ({"../a": {"training.steps": 7}}, 1, "variant '../a': it names a folder"),
        ({"a_seed1": {"training.steps": 7}}, 1, "variant 'a_seed1': it names a folder"),
        ({"a b": {"training.steps": 7}, "a_b": {"training.steps": 8}}, 1, "would share the folder a_b"),
        (TWO, 0, "--seeds=0: from 1 to"),
        (TWO, 101, "--seeds=101: from 1 to"),
    ],
)
def test_what_makes_no_grid_is_said(grid_of, sweep, seeds, message):
    with pytest.raises(ConfigError, match=message):
        grid_of(sweep, seeds=seeds)


def test_a_key_of_the_sweep_cannot_be_set_beside_it(grid_of):
    with pytest.raises(ConfigError, match=r"--config.training.steps: the sweep sets this key itself"):
        grid_of(TWO, [("training.steps", "3")])


def test_a_config_without_a_sweep_is_said(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(CONFIG.split("def sweep")[0])
    with pytest.raises(ConfigError, match=r"has no sweep\(\)"):
        of_sweep(str(path), [], epath.Path(tmp_path), 1, "")


def test_more_may_come_and_nothing_may_change(grid_of):
    grid_of(TWO).write()
    grid_of({**TWO, "c": {"training.steps": 9}}, [("data.threads", "3")], seeds=4).check()
    with pytest.raises(RunError, match=r"holds another grid \(config.data.batch_size: 32 there, 4 now.*of `ablate …`: give"):
        grid_of(TWO, [("data.batch_size", "4")]).check()
    with pytest.raises(RunError, match=r"another grid \(a: config.optimizer.learning_rate: 0.1 there, 0.3 now\)"):
        grid_of({"a": {"optimizer.learning_rate": 0.3}}).check()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"what": 1, "base": {}, "variants": {}}', '{"what": "", "base": 3}']
)
def test_a_broken_grid_file_is_one_line(grid_of, content):
    grid = grid_of(TWO)
    grid.write()
    (grid.folder / "grid.json").write_text(content)
    with pytest.raises(RunError, match=r"grid.json cannot be read .*: delete it"):
        grid.check()


def test_a_grid_of_an_older_version_goes_on(grid_of):
    """One whose configs have not a key of today: its default is what held."""
    grid = grid_of(TWO)
    grid.write()
    content = json.loads((grid.folder / "grid.json").read_text())
    for config in (content["base"], *content["variants"].values()):
        del config["data"]["batch_size"]
    (grid.folder / "grid.json").write_text(json.dumps(content))
    grid.check()


def test_grid_json_says_what_is_in_the_folder(grid_of):
    grid = grid_of(TWO, seeds=2)
    grid.write()
    content = read(grid.folder)
    assert content["what"] == "ablate …" and list(content["variants"]) == ["a", "b b"]
    assert content["cells"][-1] == {"variant": "b b", "seed": 1, "folder": "b_b_seed1"}
    assert json.loads((grid.folder / "grid.json").read_text()) == content


def test_one_of_several_sweeps(tmp_path):
    path = tmp_path / "swept.py"
    several = """def sweep(name: Literal["steps", "rate"] = "steps"):
    return {"steps": {"training.steps": (3, 4)}, "rate": {"optimizer.learning_rate": (0.1, 0.2)}}[name]
"""
    path.write_text("from typing import Literal\n" + CONFIG.split("def sweep")[0] + several)
    names = lambda *name: list(of_sweep(str(path), [], epath.Path(tmp_path), 1, "", *name).variants)
    assert names() == names("steps") == ["steps=3", "steps=4"] and names("rate") == [
        "learning_rate=0.1",
        "learning_rate=0.2",
    ]
    with pytest.raises(ConfigError, match=r"--sweep: there is no 'rates'. Did you mean 'rate'\? Known: rate, steps"):
        names("rates")


def test_a_sweep_that_fails_is_one_line(tmp_path):
    path = tmp_path / "swept.py"
    path.write_text(CONFIG.split("return {sweep}")[0] + "raise KeyError(3)\n")
    with pytest.raises(ConfigError, match=r"sweep\(\) of .*swept.py: KeyError"):
        of_sweep(str(path), [], epath.Path(tmp_path), 1, "")
