"""What README and the notebooks tell a user to type is what the commands take."""

import importlib
import json
import re
import shlex
import types

import jax
import pytest

import experiments
from experiments import doctor
from tests.conftest import ROOT

COMMANDS = {name: importlib.import_module(f"experiments.{name}") for name in experiments.COMMANDS}
RESULTS = {
    "doctor": types.SimpleNamespace(healthy=True), "predict": [], "convert": [], "detection_speed": [],
    "proposals": {10: {"AR": 0.5}}, "benchmark": [{"pass": "train"}],
}  # fmt: skip
"""What a command's `run` returns, as far as the rest of the command reads it."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def documented():
    """The command lines of all documents and configs, as `train --config=…`."""
    for path in [*DOCUMENTS, *sorted((ROOT / "configs").glob("*.py"))]:
        text = re.sub(r"\\+\n", " ", path.read_text())
        names = "|".join(COMMANDS)
        for line in re.findall(rf"(?:python -m experiments\.|\bcnnvision )((?:{names})\b[^\n`]*)", text):
            if not any(mark in line for mark in ("...", "…", "[")):
                yield line.split("#")[0].strip()


@pytest.mark.parametrize("line", sorted(set(documented())))
def test_documented_commands_are_understood(line, monkeypatch):
    """Each is parsed by the command itself, with the work behind it replaced."""
    name, *flags = shlex.split(line)
    ran = []
    done = RESULTS.get(name, {"metric": 1.0})
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run", lambda *a, **k: ran.append(a) or done)
    monkeypatch.setattr(doctor, "describe", lambda report: "")
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a: None)
    assert COMMANDS[name].command(flags) in (0, None)
    assert len(ran) == 1


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(path):
    """What is linked, and what is named in `code` with a folder of the checkout in front."""
    text = path.read_text()
    links = [path.parent / link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    code = [ROOT / name for name in re.findall(r"`((?:cnnvision|experiments|configs|tests|colab|docs)/[\w./-]*)`", text)]
    assert links + code, "a document that points to nothing"
    assert [str(file) for file in links + code if not file.exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "colab").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(path, tmp_path, monkeypatch):
    """The cells, one after the other, without the ones that install."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    assert "\ndef " not in source and "\nclass " not in source, "notebooks call the package and define nothing"
    source = source.replace("from IPython.display import Image", "Image = lambda path: open(path, 'rb').read(8)")
    source = source.replace("from cnnvision.experiments import", "from experiments import")  # where nothing is installed
    monkeypatch.chdir(tmp_path)
    from cnnvision.training.sharding import make_mesh

    for room in ("join", "open"):
        monkeypatch.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))
    with jax.numpy_dtype_promotion("standard"):
        exec(compile(source, str(path), "exec"), {})
    assert (tmp_path / "runs" / "quickstart" / "pictures" / "curves.png").exists()
