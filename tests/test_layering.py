"""The rooms of the package: who may import whom, how long a file may be, and that public things say what they are."""

import ast
import pathlib
import re

import pytest

from tests.conftest import ROOT

PACKAGE, COMMANDS, CONFIGS = ROOT / "cnnvision", ROOT / "experiments", ROOT / "configs"
CODE = sorted([*PACKAGE.rglob("*.py"), *COMMANDS.rglob("*.py"), *CONFIGS.glob("*.py")])
OF_ANOTHER_PYTHON = COMMANDS / "benchmark_torchvision.py"

BASE = {"errors", "installation", "settings", "storage", "types", "inputs", "task"}
MAY_IMPORT = {
    "errors": set(),
    "installation": set(),
    "settings": {"errors"},
    "storage": {"errors"},
    "types": set(),
    "inputs": {"errors", "settings"},
    "task": {"inputs", "types"},
    "ops": BASE - {"task", "storage"},
    "programs": BASE - {"task", "storage"},
    "data": BASE - {"task"} | {"ops"},
    "evaluation": BASE | {"ops"},
    "pictures": BASE | {"ops", "evaluation"},
    "training": BASE | {"ops", "pictures", "programs"},
    "backbones": BASE - {"storage"} | {"ops"},
    "necks": BASE - {"storage"} | {"ops", "backbones"},
    "heads": BASE - {"storage"} | {"ops", "backbones", "necks"},
    "pretrained": BASE | {"ops", "backbones", "necks", "heads"},
    "models": BASE | {"ops", "backbones", "necks", "heads", "pretrained", "evaluation"},
}
"""Room -> the other rooms that its files may import; the last ones join all that stands before them."""
MAY_IMPORT["runs"] = set(MAY_IMPORT)
MAY_IMPORT["experiments"] = MAY_IMPORT["configs"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"errors", "installation"}


def room(path):
    """The folder or file of the package; `experiments` and `configs` are folders of it, too, where it is installed."""
    parts = path.relative_to(ROOT).parts
    return parts[1].removesuffix(".py") if parts[0] == "cnnvision" else parts[0]


def imported_rooms(path):
    """Rooms by name; with its dot in front what would not be there once the package is installed, or is too heavy."""
    place = path.relative_to(ROOT).parts[:-1]
    place = place if place[0] == "cnnvision" else ("cnnvision", *place)
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            start = [*place[: len(place) + 1 - node.level]] if node.level else []
            names = [".".join([*start, *([node.module] if node.module else []), alias.name]) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "cnnvision" and len(parts) > 1:
                yield parts[1]
            elif parts[0] in ("experiments", "configs", "tests", "tensorflow", "torch"):
                yield f".{parts[0]}"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = room(path)
    if path == PACKAGE / "__init__.py":
        assert not list(imported_rooms(path))
    elif path != OF_ANOTHER_PYTHON:
        assert here in MAY_IMPORT, f"{here} is a new room: say in MAY_IMPORT what it may import"
        assert set(imported_rooms(path)) <= MAY_IMPORT[here] | {here}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_code_speaks_of_exist(path):
    """folder/file.py from the checkout, from the package, or from a folder that the file itself is in."""
    roots = [ROOT, PACKAGE, *(folder for folder in path.parents if ROOT in folder.parents)]
    named = {name for name in re.findall(r"(?<![\w./*-])\w[\w.-]*(?:/[\w.-]+)*/\w+\.py\b", path.read_text())}
    assert [name for name in named if "NAME" not in name and not any((root / name).exists() for root in roots)] == []


def test_tests_say_which_file_they_test():
    """Where the first line begins with one, it exists."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        named = re.match(r'"""([\w/]+\.py)\b', path.read_text())
        assert not named or list(PACKAGE.rglob(named[1])) or (ROOT / named[1]).exists(), path


def test_tests_mirror_the_package():
    """But for the slow versions that many rooms are compared with, and a model that joins as a user's would."""
    tests = ROOT / "tests"
    folders = lambda root, above: {path.parent.relative_to(above) for path in root.rglob("*.py")} - {pathlib.Path()}
    rooms = folders(PACKAGE, PACKAGE) | folders(COMMANDS, ROOT)
    of_tests_alone = {pathlib.Path("reference"), pathlib.Path("models/joining")}
    assert folders(tests, tests) - of_tests_alone <= rooms
    assert {folder for folder in rooms if len(folder.parts) == 1} <= folders(tests, tests), "a room without tests"
    alone = {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")}
    assert alone - {"layering", "accelerators"} <= {path.stem for path in PACKAGE.glob("*.py")}


def test_files_of_tests_are_short():
    assert not [path for path in (ROOT / "tests").rglob("*.py") if path.read_text().count("\n") > 300], "a room is missing"


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
    assert found - expected <= {"docs", "docker", "runs", "build", "dist", "cnnvision.egg-info"}, "the top level has grown"
    assert pathlib.Path(ROOT / "requirements.txt").exists()
