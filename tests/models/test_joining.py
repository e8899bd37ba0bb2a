"""A model joins in one place: its file, a line in `MODELS`, a config, a `Case`. All that there is for a model then works."""

import inspect
import json

import jax
import pytest

from cnnvision.models import MODELS
from cnnvision.runs.configuration import load_config
from cnnvision.training.sharding import make_mesh
from experiments import evaluate, train
from tests.conftest import ROOT
from tests.models import gradients
from tests.models import test_laws as laws
from tests.models.cases import CASES, Case
from tests.models.joining import thumbnail
from tests.processes import distance

CONFIG = str(ROOT / "tests" / "models" / "joining" / "thumbnail_shapes.py")


@pytest.fixture
def joined(monkeypatch):
    """The name of a model that was no part of the package a moment ago."""
    monkeypatch.setitem(MODELS, "thumbnail", thumbnail.make_task)
    monkeypatch.setitem(CASES, "thumbnail", Case(CONFIG, draws=False))
    return "thumbnail"


LAWS = {
    name: law for name, law in vars(laws).items() if name.startswith("test_") and "name" in inspect.signature(law).parameters
}


@pytest.mark.parametrize("law", LAWS)
def test_it_is_held_to_the_laws(joined, law):
    """To each that takes a model's name; skipped where it has no such part."""
    more = {"train": True} if "train" in inspect.signature(LAWS[law]).parameters else {}
    LAWS[law](name=joined, **more)


def test_devices_agree_about_it(joined):
    """In float32: a model as simple as this has no kink that could hide a mistake of 1e-6."""
    task, arrays = gradients.inputs(joined)
    one, eight = (gradients.computed(task, *arrays, mesh) for mesh in (make_mesh(jax.devices()[:1]), make_mesh()))
    keys = [key for key in one if key.startswith(("gradient", "loss"))]
    assert len(keys) == 5 and distance([one[key] for key in keys], [eight[key] for key in keys]) <= 1e-5


def test_a_law_says_which_model_has_no_case(monkeypatch):
    monkeypatch.setitem(MODELS, "thumbnail", thumbnail.make_task)
    with pytest.raises(AssertionError, match=r"give it a Case in tests/models/cases\.py"):
        laws.test_every_model_has_a_case()


def test_it_trains_and_is_evaluated_by_the_commands(joined, tmp_path, few_shapes):
    with jax.numpy_dtype_promotion("standard"):
        train.run(load_config(f"{CONFIG}:smoke"), tmp_path, say=lambda line: None)
        metrics = evaluate.run(tmp_path, say=lambda line: None)
    assert (
        0 <= metrics["accuracy"] <= 1
        and json.loads((tmp_path / "config.json").read_text())["config"]["model"]["hidden"] == 8
    )


def test_the_lines_in_readme_are_those_of_the_model():
    """Each line of the code under "Adding a model", up to its comment, stands in the model's file."""
    code = (ROOT / "README.md").read_text().split("## Adding a model")[1].split("```")[1]
    lines = [line.partition("#")[0].strip() for line in code.splitlines()[1:] if line.strip()]
    text = (ROOT / "tests" / "models" / "joining" / "thumbnail.py").read_text()
    assert len(lines) == 5 and [line.strip() for line in text.splitlines() if line.strip() in lines] == lines
