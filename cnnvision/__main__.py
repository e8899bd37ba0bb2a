"""`cnnvision COMMAND …`, as installed, is `python -m experiments.COMMAND …` in a checkout."""

import ast
import importlib
import sys

import cnnvision
from cnnvision.errors import nearest
from cnnvision.installation import INSTALLED, ROOT


def main() -> None:
    """Runs the command that the command line names; alone, or with --help, lists them."""
    if not INSTALLED:
        sys.path.insert(0, str(ROOT))
    package = "cnnvision.experiments" if INSTALLED else "experiments"
    commands = importlib.import_module(package).COMMANDS
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(overview(commands))
    elif name == "--version":
        print(f"cnnvision {cnnvision.__version__}")
    elif name not in commands:
        print(f"there is no command {name!r}.{nearest(name, commands)}", file=sys.stderr)
        sys.exit(2)
    else:
        module = importlib.import_module(f"{package}.{name}")
        importlib.import_module(f"{package}.command_line").main(module.command, arguments)


def overview(commands: tuple[str, ...]) -> str:
    """What `--help` prints: each command with the first line of its docstring. Nothing is imported for it."""
    docstring = lambda name: ast.get_docstring(ast.parse((ROOT / "experiments" / f"{name}.py").read_text("utf-8")))
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {docstring(name).splitlines()[0]}" for name in commands]
    usage = "usage: cnnvision COMMAND [--FLAG=VALUE ...]"
    return "\n".join([usage, "", *lines, "", "cnnvision COMMAND --help lists its flags."])


if __name__ == "__main__":
    main()
