"""Where commands and configs lie, inside the package as installed or beside it in a checkout, and how a command is typed."""

import importlib.metadata
import pathlib
import sys
from collections.abc import Callable, Iterable

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


CHECKED = ("jax", "flax", "optax", "orbax-checkpoint")
"""Libraries whose other versions fail far from where they are called, with words that do not tell why."""


def version_faults(
    requirements: Iterable[str] | None = None, version: Callable[[str], str] = importlib.metadata.version
) -> list[str]:
    """One line for each checked library that is missing, too old or too new: what was found, what is needed, how to get it.

    Args:
        requirements: such as "jax<0.13,>=0.7.2"; by default this package's own, none where it is not installed.
        version: of an installed library by its name; raises PackageNotFoundError.
    """
    from packaging.requirements import Requirement

    if requirements is None:
        try:
            requirements = importlib.metadata.requires("cnnvision") or ()
        except importlib.metadata.PackageNotFoundError:
            return []
    lines = []
    for needed in map(Requirement, requirements):
        if needed.name not in CHECKED or needed.marker:
            continue
        try:
            found = version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or not needed.specifier.contains(found, prereleases=True):
            have = "is not installed" if found is None else f"{found} is installed"
            lines.append(f"{needed.name} {have}, and cnnvision needs {needed.specifier}: pip install '{needed}'")
    return lines
