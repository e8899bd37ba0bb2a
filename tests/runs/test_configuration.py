"""Config files, by path and by name, and the values that a command line sets in them."""

import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.configuration import differences, find_config, from_json, load_config, split_variant, to_json
from tests.conftest import ROOT

DEMO = f"{ROOT}/configs/localizer_shapes.py"


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([("data.fit", "tile")], "--config.data.fit: is called config.data.resize now"),
        ([("model.average", "flips")], "--config.model.average: is called config.model.tta now"),
        ([("model.alpa", "0.1")], "config.model has no key 'alpa'. Did you mean 'alpha'?"),
        ([("modl.alpha", "0.1")], "config has no key 'modl'. Did you mean 'model'?"),
        ([("alpha", "0.1")], "There is config.model.alpha."),
        ([("model", "x")], "this is a section; set one of its keys"),
        ([("model.alpha.x", "1")], "config.model.alpha is a value, not a section"),
        ([("model.alpha", "much")], "'much' is no number; the config has 0.5"),
        ([("training.steps", "1.5")], "'1.5' is no whole number"),
        ([("training.steps", "true")], "'true' is no whole number"),
        ([("training.split_parameters", "maybe")], "'maybe' is no bool (true or false)"),
        ([("data.margin", "{}")], "--config.data.margin: '{}' is no value of a key; the config has None"),
        ([("data.size", "wide")], "'wide' is no list of such values"),
        ([("data.size", "{[1]}")], "'{[1]}' is no list of such values"),
        ([("optimizer.learning_rate", "1" + "0" * 400)], "0' is no number; the config has"),
    ],
)
def test_wrong_keys_and_values(overrides, message):
    with pytest.raises(ConfigError) as error:
        load_config(DEMO, overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "file, message",
    [
        (f"{ROOT}/configs/localiser_shapes.py", f"Did you mean '{ROOT}/configs/localizer_shapes.py'?"),
        ("localiser_shapes:smoke", "there is no config localiser_shapes. Did you mean 'localizer_shapes'?"),
        ("localizer_shapes.py", "there is no file localizer_shapes.py. Did you mean"),
        ("configs/localizer_shapes:smoke", "there is no file configs/localizer_shapes:smoke. Did you mean"),
        ("nowhere/x.py", "there is no file nowhere/x.py"),
        ("", "--config: which one?"),
        (":smoke", "--config: which one?"),
        (f"{ROOT}/README.md", "is no Python file"),
        (f"{ROOT}/cnnvision/errors.py", "has no function get_config"),
    ],
)
def test_wrong_config_files(file, message):
    with pytest.raises(ConfigError) as error:
        load_config(file)
    assert message in str(error.value)


def test_values_are_taken_as_their_types():
    config = load_config(
        DEMO,
        [("model.alpha", "1"), ("training.steps", "1e3"), ("data.size", "(96, 64)"), ("training.split_parameters", "True"),
         ("data.source", "csv:my:dir=1"), ("data.augment.crop_area", "0.5,1"), ("model.pretrained", "None")],
    )  # fmt: skip
    assert config.model.alpha == 1.0 and config.training.steps == 1000 and config.data.size == (96, 64)
    assert config.training.split_parameters is True and config.data.source == "csv:my:dir=1"
    assert config.data.augment.crop_area == (0.5, 1) and config.model.pretrained is None
    assert differences(to_json(config), to_json(from_json(to_json(config)))) == []


@pytest.mark.parametrize(
    "argument, parts",
    [
        ("configs/x.py", ("configs/x.py", "")),
        ("configs/x.py:smoke", ("configs/x.py", "smoke")),
        ("C:\\configs\\x.py:smoke", ("C:\\configs\\x.py", "smoke")),
        ("x", ("x", "")),
        ("x:smoke", ("x", "smoke")),
        ("x.py", ("x.py", "")),
    ],
)
def test_a_variant_stands_behind_a_path_or_a_name(argument, parts):
    assert split_variant(argument) == parts


def test_a_bare_name_is_one_of_configs_here_else_one_that_comes_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("localizer_shapes") == ROOT / "configs" / "localizer_shapes.py"
    assert load_config("localizer_shapes:smoke").model.name == "localizer"
    assert load_config("configs/localizer_shapes.py:smoke").model.name == "localizer"  # as in README
    with pytest.raises(ConfigError, match=r"no file configs/localiser_shapes\.py\. Did you mean 'localizer_shapes'\?"):
        load_config("configs/localiser_shapes.py")
    with pytest.raises(ConfigError, match=r"no file nowhere/localizer_shapes\.py\."):
        load_config("nowhere/localizer_shapes.py")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ConfigError, match=r"there is no config mine\. Did you mean the file mine\.py\?"):
        load_config("mine")
    own = tmp_path / "configs" / "localizer_shapes.py"
    own.parent.mkdir()
    own.write_text("from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'mine': 1})\n")
    assert load_config("localizer_shapes").mine == load_config("configs/localizer_shapes.py").mine == 1
    with pytest.raises(ConfigError, match=r"no file configs/unet_shapes\.py\."):
        load_config("configs/unet_shapes.py")
    with pytest.raises(ConfigError, match=r"Did you mean 'configs/localizer_shapes\.py'\?.*unet_shapes"):
        load_config("configs/localiser_shapes.py")


@pytest.mark.parametrize(
    "line, message",
    [
        ('config.data.fit = "tile"', "config.data.fit is called config.data.resize now"),
        ('config.data["fit"] = "tile"', "config.data.fit is called config.data.resize now"),
        ("config.data.update(fit=config.data.resize)", "config.data.fit is called config.data.resize now"),
        ("config.training.average_decay = 0.9", "config.training.average_decay is called config.training.ema_decay now"),
        ("config.data.cache_mb = config.data.fit", "config.data.fit is called config.data.resize now"),
        ("config.training.step = 3", "there is no key 'step'. Did you mean 'steps'?"),
        ("config.training.fit = 3", "there is no key 'fit'. Known: "),
        ("{}['steps']", "KeyError: 'steps'"),
    ],
)
def test_a_wrong_key_in_a_config_file_is_one_line(line, message, tmp_path):
    file = tmp_path / "mine.py"
    lines = ["from cnnvision.runs.defaults import base", "def get_config():", "    config = base()", f"    {line}"]
    file.write_text("\n".join([*lines, "    return config"]))
    with pytest.raises(ConfigError) as error:
        load_config(str(file))
    assert str(error.value).startswith(f"--config: get_config of {file}: {message}") and "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["from configs import common", "from configs.common import base", "import configs.common"])
def test_a_config_file_that_imports_what_has_moved(line, tmp_path):
    (tmp_path / "mine.py").write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=r"\(configs\.common is cnnvision\.runs\.defaults now\)$"):
        load_config(f"{tmp_path}/mine.py")


def test_what_is_none_takes_a_value_of_any_type_and_a_value_gives_way_to_none():
    none = load_config("localizer_shapes:smoke", [("data.eval_examples", "None")])
    assert none.data.eval_examples is none.data.margin is none.model.pretrained is None
    texts = [("data.eval_examples", "7"), ("data.margin", "16"), ("model.pretrained", "weights.pth")]
    some = load_config("localizer_shapes:smoke", [("data.eval_examples", "None"), *texts])
    assert (some.data.eval_examples, some.data.margin, some.model.pretrained) == (7, 16, "weights.pth")
