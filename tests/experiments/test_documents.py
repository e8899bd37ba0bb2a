"""What README, the pages of docs, configs and notebooks tell a user to type is what the commands take.

Each command line is parsed by its command, and its config is joined with a model. What README does with one's own data runs
as it stands; that each command does its work is shown by the other files of this folder, once a command.
"""

import importlib
import json
import pathlib
import re
import shlex
import socket
import sys
import types

import jax
import pytest

import experiments
from cnnvision.models import make_task
from cnnvision.runs.join import check_config, check_size
from cnnvision.task import DataInfo
from cnnvision.training.sharding import make_mesh
from experiments import doctor
from tests.conftest import ROOT
from tests.data.planted import CSV_HEADER, encoded, picture, write

COMMANDS = {name: importlib.import_module(f"experiments.{name}") for name in experiments.COMMANDS}
RESULTS = {
    "doctor": types.SimpleNamespace(healthy=True), "predict": [], "convert": [], "detection_speed": [],
    "proposals": {10: {"AR": 0.5}}, "benchmark": [{"pass": "train"}],
    "plan": {"fits": True}, "launch": {},
}  # fmt: skip
"""What a command's `run` returns, as far as the rest of the command reads it."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def on_one_device(monkeypatch):
    """Programs for one device compile sooner."""
    for room in ("join", "open"):
        monkeypatch.setattr(f"cnnvision.runs.{room}.make_mesh", lambda: make_mesh(jax.devices()[:1]))


@pytest.fixture(autouse=True)
def compiled_programs_of_tests(monkeypatch):
    """A command would from here on keep them in the user's folder."""
    for module in COMMANDS.values():
        if hasattr(module, "cache_compilations"):
            monkeypatch.setattr(module, "cache_compilations", lambda: None)


def documented():
    """The command lines of all documents and configs, as `train --config=…`."""
    for path in [*DOCUMENTS, *sorted((ROOT / "configs").glob("*.py"))]:
        text = re.sub(r"\\+\n", " ", path.read_text())
        names = "|".join(COMMANDS)
        for line in re.findall(rf"(?:python -m experiments\.|\bcnnvision )((?:{names})\b[^\n`]*)", text):
            if not any(mark in line for mark in ("...", "…", "[")):
                yield line.split("#")[0].strip()


def joined(config, *_, **__):
    """Raises ConfigError where no run can use the config; the weights and the data that it names need not be here."""
    if config.model.get("pretrained", "imagenet") != "imagenet":
        config.model.pretrained = None
    check_config(config, 1)
    check_size(make_task(config, DataInfo(("a", "b", "c"), ("a", "b", "c"))), config)


@pytest.mark.parametrize("line", sorted(set(documented())))
def test_documented_commands_are_understood(line, monkeypatch):
    """Each is parsed by the command itself, with the work behind it replaced."""
    name, *flags = shlex.split(line)
    ran = []
    done = RESULTS.get(name, {"metric": 1.0})
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run", lambda *a, **k: ran.append(a) or done)
    monkeypatch.setattr(doctor, "describe", lambda report, most: "")
    monkeypatch.setattr("cnnvision.runs.hosts.come_together", lambda *a: None)
    assert COMMANDS[name].command(flags) in (0, None)
    assert len(ran) == 1
    if name in ("train", "proposals"):
        joined(*ran[0])


def blocks(path, heading):
    """The command lines of a section."""
    section = path.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^python -m experiments\.(\w+) +(.*)$", section, re.MULTILINE)


def test_own_data_as_readme_has_it(tmp_path, monkeypatch, capsys):
    """The five lines, one after the other, on a few drawn images and with the config's smallest values."""
    rows = [f"{number}.png,40,30,class {number % 6},{number},2,20,25" for number in range(8)]
    for seed, split in enumerate(("train", "val")):
        write(tmp_path / "DIR" / f"{split}.csv", "\n".join([CSV_HEADER, *rows]))
        for number in range(len(rows)):
            write(tmp_path / "DIR" / split / f"{number}.png", encoded(picture(8 * seed + number)))
    write(tmp_path / "photos" / "1.jpg", encoded(picture(0), "JPEG"))
    monkeypatch.chdir(tmp_path)
    on_one_device(monkeypatch)
    lines = blocks(ROOT / "README.md", "Your own data")
    assert [name for name, _ in lines] == ["doctor", "train", "evaluate", "predict", "convert"]
    with jax.numpy_dtype_promotion("standard"):
        for name, flags in lines:
            flags = re.sub(r"--config=(\S+)", rf"--config={ROOT}/\1:smoke", flags)
            assert COMMANDS[name].command(shlex.split(flags)) == 0, capsys.readouterr().out
    for file in ("runs/mine/evaluation/val.json", "predictions/predictions.json", "DIR2/annotations/instances_val.json"):
        assert (tmp_path / file).exists()


def anchors(path):
    """Of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(path):
    """What is linked, with its heading, and what is named in `code` with a folder of the checkout in front."""
    text = path.read_text()
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    links = [(path.parent / file if file else path, anchor) for file, _, anchor in links]
    code = [ROOT / name for name in re.findall(r"`((?:cnnvision|experiments|configs|tests|colab|docs)/[\w./-]*)`", text)]
    assert links + code, "a document that points to nothing"
    assert [str(file) for file in [*(file for file, _ in links), *code] if not file.exists()] == []
    assert [(str(file), anchor) for file, anchor in links if anchor and anchor not in anchors(file)] == []


def test_readme_is_short_and_leads_to_every_page():
    text = DOCUMENTS[0].read_text()
    assert len(text.splitlines()) <= 150
    assert [path.name for path in DOCUMENTS[1:] if f"]({path.relative_to(ROOT)})" not in text] == []


NOTEBOOKS = {
    "quickstart.ipynb": ["runs/quickstart/pictures/curves.png"],
    "mask_rcnn.ipynb": ["stages/5_pasted.png", "predictions/coco_results.json", "predictions_again/shapes.png.png"],
}
"""Notebook -> files that it leaves behind."""


@pytest.mark.parametrize("path", sorted((ROOT / "colab").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(path, tmp_path, monkeypatch):
    """The cells, one after the other, in one namespace, as beside a clone of the repository; without a network."""
    shown = []
    picture = lambda file, width=None: shown.append(pathlib.Path(file).read_bytes()[:4])
    display = types.SimpleNamespace(Image=picture, display=lambda *_: None)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=display, version_info=(9, 0)))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "cnnvision.experiments", experiments)  # where nothing is installed
    monkeypatch.setitem(sys.modules, "cnnvision.experiments.command_line", experiments.command_line)
    monkeypatch.setattr(experiments.command_line, "cache_compilations", lambda: None)  # the tests have their own
    monkeypatch.setattr(socket, "create_connection", None)  # nothing is fetched
    (tmp_path / "cnnvision").mkdir()
    (tmp_path / "cnnvision" / "colab").symlink_to(ROOT / "colab")
    monkeypatch.chdir(tmp_path)
    on_one_device(monkeypatch)
    names = {}
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        source = "".join(cell["source"]).replace("QUICK = False", "QUICK = True")
        if cell["cell_type"] == "code":
            assert not re.search(r"^ *(def|class) ", source, re.M), "notebooks call the package and define nothing"
            with jax.numpy_dtype_promotion("standard"):
                exec(compile(source, f"{path}, cell {number}", "exec"), names)
    assert shown and set(shown) == {b"\x89PNG"}
    assert [file for file in NOTEBOOKS[path.name] if not (tmp_path / file).exists()] == []
