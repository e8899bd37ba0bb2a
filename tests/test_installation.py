"""What a wheel installs, and that commands and configs are found in it as they are in a checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from cnnvision import installation
from experiments import COMMANDS, command_line
from tests.conftest import ROOT
from tests.processes import own_words


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the checkout: building leaves folders behind. Nothing is fetched for it."""
    copy, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("cnnvision", "experiments", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    flags = ["--no-deps", "--no-build-isolation", f"--wheel-dir={built}"]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *flags, str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder into which the wheel is unpacked; and what runs Python on it, in an empty folder elsewhere."""
    place, elsewhere = tmp_path_factory.mktemp("site-packages"), tmp_path_factory.mktemp("elsewhere")
    zipfile.ZipFile(wheel).extractall(place)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(place)}
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)

    return run


def test_a_wheel_installs_one_top_level_package_with_all_there_is(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in files if ".dist-info/" not in name} == {"cnnvision"}
    of_checkout = {
        str(path.relative_to(ROOT / start)): folder
        for start, folder in ((".", "cnnvision"), (".", "experiments"), (".", "configs"))
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("templates/**/*.*")]
    }
    expected = {name if folder == "cnnvision" else f"cnnvision/{name}" for name, folder in of_checkout.items()}
    assert {name for name in files if ".dist-info/" not in name} == expected
    scripts = next(name for name in files if name.endswith("entry_points.txt"))
    assert "cnnvision = cnnvision.__main__:main" in zipfile.ZipFile(wheel).read(scripts).decode()


def test_an_installed_command_is_that_of_the_checkout(installed):
    done = installed("cnnvision", "train", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: cnnvision train [-h] --config"), done.stderr
    assert "    cnnvision train --config=configs/NAME.py[:VARIANT]" in done.stdout
    done = installed("cnnvision", "evaluate", "--workdir=nowhere")
    assert done.returncode == 2
    assert own_words(done.stderr) == "error: nowhere is no run folder: it has no config.json. `cnnvision train` makes one.\n"


def test_an_installed_config_is_found_by_name(installed):
    done = installed("cnnvision", "train", "--config=localizer_shapes:smokey", "--workdir=x")
    assert done.returncode == 2 and "there is no variant 'smokey'. Did you mean 'smoke'?" in done.stderr
    done = installed("cnnvision", "train", "--config=localiser_shapes", "--workdir=x")
    assert done.returncode == 2 and "there is no config localiser_shapes. Did you mean 'localizer_shapes'?" in done.stderr


def test_an_installed_launch_finds_its_templates(installed):
    flags = "--route=gke --topology=v6e:2x2 --config=localizer_shapes:smoke --workdir=gs://bucket/run --zone=us-central1-b"
    done = installed("cnnvision", "launch", *flags.split(), "--project=some-project")
    assert done.returncode == 0 and "kind: JobSet" in done.stdout, done.stderr


def test_the_console_lists_its_commands(installed):
    done = installed("cnnvision")
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert done.returncode == 0 and listed == list(COMMANDS)
    assert "  train            Trains what a config describes, or goes on with it.\n" in done.stdout
    assert installed("cnnvision", "--help").stdout == done.stdout


def test_a_near_miss_of_a_command(installed):
    done = installed("cnnvision", "trian")
    assert done.returncode == 2
    assert done.stderr.startswith("there is no command 'trian'. Did you mean 'train'? Known: ablate, ")


def test_the_console_of_a_checkout_is_the_same(installed):
    """As of an editable installation: the package is found, and what lies beside it with it."""
    code = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('cnnvision', run_name='__main__')"
    environment = {**os.environ, "PYTHONPATH": ""}
    run = lambda *a: subprocess.run(
        [sys.executable, "-c", code, str(ROOT), *a], cwd="/", env=environment, capture_output=True, text=True
    )
    assert run().stdout == installed("cnnvision").stdout
    assert run("doctor", "--dat=x").returncode == 2 and "Did you mean --data?" in run("doctor", "--dat=x").stderr


@pytest.mark.parametrize("started, typed", [
    ("/x/experiments/train.py", "python -m experiments.doctor --data=x"),
    ("/usr/bin/cnnvision", "cnnvision doctor --data=x"),
    (str(installation.PACKAGE / "__main__.py"), "cnnvision doctor --data=x"),
])  # fmt: skip
def test_a_message_names_a_command_as_it_was_typed(started, typed, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert installation.typed("doctor --data=x") == typed


def test_a_library_of_another_version_is_named_with_what_installs_the_right_one(monkeypatch, capsys):
    needed = ["jax<0.13,>=0.7.2", "flax>=0.11.2", "optax>=0.2.8", "numpy>=9", 'orbax-checkpoint>=9; extra == "test"']
    versions = {"jax": "0.6.2", "flax": "0.12.8.dev1"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    lines = installation.version_faults(needed, version)
    assert lines == [
        "jax 0.6.2 is installed, and cnnvision needs <0.13,>=0.7.2: pip install 'jax<0.13,>=0.7.2'",
        "optax is not installed, and cnnvision needs >=0.2.8: pip install 'optax>=0.2.8'",
    ]
    versions |= {"jax": "0.13.0", "optax": "0.2.8"}
    assert installation.version_faults(needed, version)[0].startswith("jax 0.13.0 is installed")
    assert installation.version_faults() == []
    monkeypatch.setattr(command_line, "version_faults", lambda: lines)
    with pytest.raises(SystemExit) as ended:
        command_line.main(lambda arguments: 1 / 0)
    assert ended.value.code == 2 and capsys.readouterr().err.splitlines() == [f"error: {line}" for line in lines]
