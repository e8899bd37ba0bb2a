"""Where commands and configs lie, inside the package as installed or beside it in a checkout, and how a command is typed."""

import pathlib
import sys

PACKAGE = pathlib.Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "experiments").is_dir()
ROOT = PACKAGE if INSTALLED else PACKAGE.parent
"""The folder that holds `experiments` and `configs`."""
CONFIGS = ROOT / "configs"


def typed(command: str) -> str:
    """A command as it is typed here: "train …" -> "cnnvision train …", or in a checkout "python -m experiments.train …"."""
    started = pathlib.Path(sys.argv[0])
    console = INSTALLED or started.stem == "cnnvision" or started == PACKAGE / "__main__.py"
    return f"cnnvision {command}" if console else f"python -m experiments.{command}"
