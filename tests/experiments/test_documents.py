"""What README and the notebooks tell a user to type is what the commands take."""

import json
import re
import shlex

import jax
import pytest

from experiments import ablate, benchmark, convert, detection_speed, doctor, evaluate, ladder, predict, proposals, train
from tests.conftest import ROOT

COMMANDS = {"train": train, "evaluate": evaluate, "predict": predict, "doctor": doctor, "convert": convert}
COMMANDS |= {"ablate": ablate, "benchmark": benchmark, "ladder": ladder, "proposals": proposals}
COMMANDS |= {"detection_speed": detection_speed}


def documented():
    texts = [(ROOT / "README.md").read_text(), *(path.read_text() for path in sorted((ROOT / "configs").glob("*.py")))]
    for text in texts:
        for line in re.findall(r"python -m experiments\.\w+[^\n`]*", re.sub(r"\\+\n", " ", text)):
            if "..." not in line and "[" not in line:
                yield line.split("#")[0].strip()


@pytest.mark.parametrize("line", sorted(set(documented())))
def test_documented_commands_are_understood(line, monkeypatch):
    """Each is parsed by the command itself, with the work behind it replaced."""
    words = shlex.split(line)
    name = words[2].removeprefix("experiments.")
    ran = []
    done = {"metric": 1.0}
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run", lambda *a, **k: ran.append(a) or done)
    monkeypatch.setattr(doctor, "describe", lambda report: "")
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a: None)
    if name == "doctor":
        done = type("Report", (), {"healthy": True})()
    if name == "predict":
        done = []
    if name == "proposals":
        done = {10: {"AR": 0.5}}
    if name in ("convert", "detection_speed"):
        done = []
    assert COMMANDS[name].command(words[3:]) in (0, None)
    assert len(ran) == 1


def test_readme_names_files_that_exist():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "colab").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(path, tmp_path, monkeypatch):
    """The cells, one after the other, without the ones that install."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    assert "\ndef " not in source and "\nclass " not in source, "notebooks call the package and define nothing"
    source = source.replace("from IPython.display import Image", "Image = lambda path: open(path, 'rb').read(8)")
    monkeypatch.chdir(tmp_path)
    from cnnvision.training.sharding import make_mesh

    for room in ("join", "open"):
        monkeypatch.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))
    with jax.numpy_dtype_promotion("standard"):
        exec(compile(source, str(path), "exec"), {})
    assert (tmp_path / "runs" / "quickstart" / "pictures" / "curves.png").exists()
