"""The commands. Each is a thin file: it parses, joins the parts, and calls; each is a plain function for notebooks, too."""

import difflib
import pathlib
import sys

COMMANDS = ("train", "evaluate", "predict", "doctor", "convert", "ladder", "ablate", "replay", "benchmark")


def _answer_unknown_command() -> None:
    """`python -m experiments.trian` imports this package first, and then says no more than that there is no such module."""
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
    package, _, name = module.partition(".")
    if package == "experiments" and not (pathlib.Path(__file__).parent / f"{name}.py").is_file():
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        what = f"there is no command {module}.{hint}" if name else "name a command: python -m experiments.COMMAND"
        print(f"{what} Commands: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


if sys.argv[:1] == ["-m"]:
    _answer_unknown_command()
