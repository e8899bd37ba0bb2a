"""A model joins in one place: its file, a line in `MODELS`, a config, a `Case`. All that there is for a model then works."""

import json

import jax
import pytest

from cnnvision.models import MODELS
from cnnvision.runs.configuration import load_config
from experiments import evaluate, train
from tests.conftest import ROOT
from tests.models import test_laws as laws
from tests.models.cases import CASES, Case
from tests.models.joining import thumbnail

CONFIG = str(ROOT / "tests" / "models" / "joining" / "thumbnail_shapes.py")


@pytest.fixture
def joined(monkeypatch):
    """The name of a model that was no part of the package a moment ago."""
    monkeypatch.setitem(MODELS, "thumbnail", thumbnail.make_task)
    monkeypatch.setitem(CASES, "thumbnail", Case(CONFIG, draws=False))
    return "thumbnail"


def test_it_is_held_to_the_laws(joined):
    laws.test_every_model_has_a_case()
    laws.test_padding_examples_change_nothing(joined)
    laws.test_padding_objects_change_nothing(joined)
    laws.test_a_batch_with_nothing_to_learn_is_finite(joined, True)
    laws.test_evaluation_leaves_the_state_alone_and_draws_nothing(joined)
    laws.test_predictions_never_see_the_targets(joined)
    laws.test_one_program_for_any_number_of_objects(joined)
    laws.test_one_set_of_parameters_for_every_declared_size(joined)
    laws.test_the_loss_on_one_batch_falls(joined)


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
    assert len(lines) == 5 and all(line in text for line in lines)
