"""The rooms of the package: who may import whom, how long a file may be, and that public things say what they are."""

import ast
import pathlib

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "cnnvision"
FILES = sorted(PACKAGE.rglob("*.py"))
CODE = sorted([*FILES, *(ROOT / "experiments").rglob("*.py"), *(ROOT / "configs").glob("*.py")])

BASE = {"errors", "settings", "types", "task"}
MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "types": set(),
    "task": {"settings", "types"},
    "ops": BASE,
    "programs": BASE,
    "data": BASE | {"ops"},
    "evaluation": BASE | {"ops"},
    "pictures": BASE | {"ops", "evaluation"},
    "training": BASE | {"ops", "pictures"},
    "backbones": BASE | {"ops"},
    "necks": BASE | {"ops", "backbones"},
    "heads": BASE | {"ops", "backbones", "necks"},
    "pretrained": BASE | {"ops", "backbones", "necks", "heads"},
    "models": BASE | {"ops", "backbones", "necks", "heads", "pretrained", "evaluation"},
    "runs": BASE | {"ops", "data", "evaluation", "models", "training"},
}
"""Room -> the other rooms that its files may import."""


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "cnnvision" and len(parts) > 1:
                yield parts[1]
            elif parts[0] in ("experiments", "configs", "tests", "tensorflow", "torch"):
                yield parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = room(path)
    if path == PACKAGE / "__init__.py":
        assert not list(imported_rooms(path))
        return
    assert here in MAY_IMPORT, f"{here} is a new room: say in MAY_IMPORT what it may import"
    assert set(imported_rooms(path)) <= MAY_IMPORT[here] | {here}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short_and_say_what_they_are(path):
    text = path.read_text()
    assert text.count("\n") <= 300, "a room is missing"
    assert path.stem not in ("utils", "helpers", "misc", "common_utils")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 75, f"{node.name} is too long"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_the_layout_is_the_documented_one():
    expected = {"cnnvision", "configs", "experiments", "tests", "colab"}
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert expected <= found
    assert found - expected <= {"docs", "runs", "build", "dist", "cnnvision.egg-info"}, "the top level has grown"
    assert pathlib.Path(ROOT / "requirements.txt").exists()
