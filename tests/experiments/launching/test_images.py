"""docker/: what can be said of the images without building them, for which these tests have no Docker."""

import json
import re

import pytest

from tests.conftest import ROOT

IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize(("name", "extra"), [("tpu", "jax[tpu]"), ("gpu", "jax[cuda13]")])
def test_signals_reach_python_and_versions_are_those_of_the_tests(name, extra):
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    assert extra in (ROOT / "pyproject.toml").read_text() and f"'{extra}' --constraint=requirements.txt" in text
    for part in ("ENTRYPOINT", "CMD"):  # a shell in between would keep the signals to itself
        assert all(isinstance(word, str) for word in json.loads(re.search(f"^{part} (.*)$", text, re.M)[1]))
    assert json.loads(re.search("^ENTRYPOINT (.*)$", text, re.M)[1]) == ["tini", "--", "python", "-m"]
    assert ("USER runner" in text) == (name == "gpu")


def test_an_image_has_what_an_installation_needs_and_no_data():
    kept = [line.removeprefix("!") for line in IGNORED if line.startswith("!")]
    assert "*" in IGNORED and all((ROOT / name).exists() for name in kept)
    assert {"cnnvision", "experiments", "configs", "pyproject.toml", "setup.py", "requirements.txt", "README.md"} <= {*kept}
