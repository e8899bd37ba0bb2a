"""The commands. Each is a thin file: it parses, joins the parts, and calls; each is a plain function for notebooks, too."""

import pathlib
import sys

from cnnvision.errors import nearest

COMMANDS = (
    "train", "evaluate", "predict", "stages", "doctor", "convert", "export", "proposals", "plan", "rehearse", "launch",
    "ladder", "ablate", "compare", "report", "anchors", "replay", "benchmark", "detection_speed",
)  # fmt: skip
"""All of them, in the order in which a newcomer meets them."""


def _answer_unknown_command() -> None:
    """`python -m experiments.trian` imports this package first, and then says no more than that there is no such module."""
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
    package, _, name = module.partition(".")
    if package == "experiments" and not (pathlib.Path(__file__).parent / f"{name}.py").is_file():
        what = f"there is no command {name!r}." if name else "name a command: python -m experiments.COMMAND."
        print(f"{what}{nearest(name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)


if sys.argv[:1] == ["-m"]:
    _answer_unknown_command()
