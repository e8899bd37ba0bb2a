"""What every command does the same: flags, one-line errors, exit codes, the compilation cache."""

import argparse
import difflib
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cnnvision.errors import TRY_AGAIN, CnnvisionError, ConfigError, OtherProcessError, RunError, Stopped
from cnnvision.installation import typed, version_faults
from cnnvision.settings import check_name
from cnnvision.storage import explain


class Parser(argparse.ArgumentParser):
    """argparse, with whole flag names only, and with the nearest flag named in the message on an unknown one.

    Args:
        command: its name.
        description: the help's text.
        keys: whether `--config.KEY=VALUE` is taken without a `--config`, beside which it always is.
    """

    def __init__(self, command: str, description: str, keys: bool = False):
        self.keys = keys
        description = description.replace("python -m experiments.", typed(""))
        super().__init__(prog=typed(command), description=description, allow_abbrev=False)
        formatter = lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=110)
        self.formatter_class = formatter

    def parse(self, arguments: list[str] | None) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
        """The flags, and the (key, value) pairs of all `--config.KEY=VALUE`."""
        takes_config = self.keys or any(action.dest == "config" for action in self._actions)
        mine, overrides, rest = [], [], list(sys.argv[1:] if arguments is None else arguments)
        while rest:
            flag, equals, value = rest[0].partition("=")
            if takes_config and flag.startswith("--config."):
                rest.pop(0)
                if not equals and (not rest or rest[0].startswith("--")):
                    self.error(f"{flag} needs a value: {flag}=VALUE")
                overrides.append((flag.removeprefix("--config."), value if equals else rest.pop(0)))
                continue
            if flag.startswith("--"):
                self._check_flag(flag, takes_config)
            mine.append(rest.pop(0))
        return self.parse_args(mine), overrides

    def _check_flag(self, flag: str, takes_config: bool) -> None:
        flags = [option for action in self._actions for option in action.option_strings]
        if flag not in flags:
            close = difflib.get_close_matches(flag, flags, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            key = " Keys of the config are set with --config.KEY=VALUE." if takes_config else ""
            self.error(f"unknown flag {flag}.{hint}{key}")


def folder(text: str) -> str:
    """The `type` of a flag that names a folder: an unset variable of the shell is none."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: which folder?")
    return text


def check_output(output: str) -> None:
    """Raises RunError where what --output names is a file: it is to be a folder."""
    if os.path.isfile(output):
        raise RunError(f"--output: {output} is a file; name a folder")


def names_in(only: str | None) -> tuple[str, ...]:
    """The names of --only, which commas part; () where it is not given: all."""
    return () if only is None else tuple(name.strip() for name in only.split(","))


def chosen_of(only: Sequence[str], known: Iterable[str]) -> list[str]:
    """The known names that --only means, however they are spelled ("Faster R-CNN", "faster_rcnn"); all of them for none.

    Raises:
        ConfigError: a name that is none of them.
    """
    letters, known = lambda text: "".join(filter(str.isalnum, text.lower())), list(known)
    spelled = {letters(name): name for name in known}
    return [check_name("--only", spelled.get(letters(name), name), known) for name in only or known]


def add_network(parser: Parser) -> None:
    """The flags that name a network: of a run folder, or of a config whose weights are a file of the whole network."""
    parser.add_argument("--workdir", type=folder, metavar="DIR", help="a run folder")
    parser.add_argument("--step", type=int, metavar="N", help="of its checkpoint; the best one by default")
    parser.add_argument("--config", metavar="FILE[:VARIANT]", help="in place of a run; with --config.model.pretrained=FILE")


def add_grid(parser: Parser) -> None:
    """The flags of a grid of runs: how many seeds of each variant, how many runs at a time."""
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of each; 1 by default")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="runs at a time, each on its own devices")


def config_of(parser: Parser, flags: argparse.Namespace, overrides: list[tuple[str, str]]) -> Any:
    """The ConfigDict of `add_network`'s --config; None where --workdir is given. Exits where it is not one of the two."""
    if (flags.workdir is None) == (flags.config is None):
        parser.error("give one of them: --workdir=DIR, or --config=FILE with --config.model.pretrained=FILE")
    if flags.config is None:
        if overrides:
            parser.error(f"--config.{overrides[0][0]} goes with --config; a run folder has a config of its own")
        return None
    if flags.step is not None:
        parser.error("--step goes with --workdir; a file of weights has no other steps")
    from cnnvision.runs.configuration import load_config

    return load_config(flags.config, overrides)


def cache_compilations() -> None:
    """Keeps compiled programs on disk, so that a second start does not compile again.

    In `$JAX_COMPILATION_CACHE_DIR`, else in `~/.cache/cnnvision/xla` (or below `$XDG_CACHE_HOME`).
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "cnnvision" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def told(error: BaseException) -> int:
    """Prints an error on stderr, in one message where the user can mend it; returns the exit code."""
    if isinstance(error, CnnvisionError):
        print(f"{'config error' if isinstance(error, ConfigError) else 'error'}: {error}", file=sys.stderr)
        return TRY_AGAIN if isinstance(error, OtherProcessError | Stopped) else 2
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if (line := explain(error)) is None:
        traceback.print_exception(error)
        return 1
    print(f"error: {line}", file=sys.stderr)
    return 2


def main(command: Callable[[list[str] | None], int | None], arguments: list[str] | None = None) -> None:
    """Runs a command as the program: errors that the user can mend are one message on stderr and exit code 2."""
    sys.stdout.reconfigure(line_buffering=True)
    if faults := version_faults():
        print("\n".join(f"error: {line}" for line in faults), file=sys.stderr)
        sys.exit(2)
    try:
        code = command(arguments) or 0
    except (Exception, KeyboardInterrupt) as error:
        code = told(error)
    sys.exit(code)
