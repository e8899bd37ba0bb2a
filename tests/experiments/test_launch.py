"""experiments.launch: where the files go; tests/experiments/launching has what is in them."""

import pytest

from cnnvision.errors import RunError
from experiments import launch
from tests.experiments.launching.commands import CONFIG, DATA, PLACE, files


def test_files_are_written_or_printed(tmp_path, capsys):
    flags = [
        "--route=gce",
        "--topology=v6e:4x4",
        f"--config={CONFIG}",
        *(f"--{key}={value}" for key, value in PLACE.items()),
    ]
    flags += [f"--config.{key}={value}" for key, value in DATA]
    assert launch.command([*flags, f"--output={tmp_path / 'new'}"]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == files("gce", "v6e:4x4")
    assert "Nothing was run." in capsys.readouterr().out
    assert launch.command([*flags, f"--output={tmp_path / 'new'}"]) == 0  # the same once more
    with pytest.raises(RunError, match=r"has the delete\.sh of another launch"):
        launch.command([*flags, "--name=other", f"--output={tmp_path / 'new'}"])
    assert launch.command(flags) == 0
    assert "# ——— host.sh ———\n#!/usr/bin/env bash\n" in capsys.readouterr().out
