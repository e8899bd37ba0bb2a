"""Trains a config's `sweep()`, each variant with several seeds, and tells which variants differ.

    python -m experiments.ablate --config=configs/NAME.py[:VARIANT] --workdir=DIR [--sweep=NAME] [--seeds=5] [--at-once=N]
        [--shard=I/N] [--config.KEY=VALUE ...]

Each variant and seed is a run of its own in DIR. What is finished is not trained again, a killed command goes on where it
was, and more seeds or variants may come later. `--shard=2/8` trains the second eighth of the runs: start it on eight
machines with one DIR (gs:// too). `--at-once=N` trains N runs at a time, each on its own share of this machine's devices.
Writes table.md, .csv and .tex: each metric with its interval over seeds and images, and a verdict on each pair.
"""

import re
import shlex

from cnnvision.errors import ConfigError
from cnnvision.installation import typed

from .command_line import Parser, add_grid, cache_compilations, folder, main


def run(
    config_argument: str,
    overrides,
    workdir,
    seeds: int = 1,
    at_once: int = 1,
    shard: tuple[int, int] = (1, 1),
    say=print,
    sweep="",
) -> str:
    """Trains and evaluates a grid, or goes on with it; returns the report, and writes it into `workdir`.

    Args:
        config_argument: of a config with a `sweep()` (cnnvision/runs/grid.py).
        overrides: (dotted key without "config.", value as typed), for all variants.
        workdir: the folder of the runs.
        seeds: of each variant.
        at_once: how many runs are trained at a time.
        shard: (i, n): the i-th of n parts of the runs alone is trained, from 1 on.
        say: prints a line.
        sweep: which of the config's sweeps; "" for its own choice.

    Raises:
        ConfigError, RunError: the sweep or the folder cannot be used.
        Stopped: it was asked to stop.
    """
    from cnnvision.runs.cells import train_cells
    from cnnvision.runs.grid import of_sweep
    from cnnvision.storage import check_writable, path_of

    keys = [f"--config.{key}={value}" for key, value in overrides]
    what = shlex.join(
        [
            f"--config={config_argument}",
            f"--workdir={workdir}",
            f"--seeds={seeds}",
            *[f"--sweep={sweep}"] * bool(sweep),
            *keys,
        ]
    )
    grid = of_sweep(config_argument, overrides, path_of(workdir), seeds, typed(f"ablate {what}"), sweep)
    grid.check()
    check_writable(workdir)
    grid.write()
    part, parts = shard
    train_cells(grid.cells()[part - 1 :: parts], at_once, say)
    return report(grid)


def report(grid) -> str:
    """The table and the verdicts of what is finished, with what is not; writes them into the grid's folder."""
    from .reports.judged import judge

    runs, missing = {name: {} for name in grid.variants}, []
    for cell in grid.cells():
        if cell.finished:
            runs[cell.variant][cell.seed] = cell.folder
        else:
            why = f"failed ({cell.failure})" if cell.failure else "is not finished"
            missing.append(f"{cell.variant}, seed {cell.seed}: {why}; no verdict without it. `{cell.command}` trains it")
    if not any(runs.values()):
        return "\n".join(f"- {line}" for line in missing)
    there, seeds = {name: of_seeds for name, of_seeds in runs.items() if of_seeds}, {cell.seed for cell in grid.cells()}
    return judge(there, missing, seeds=sorted(seeds)).write(grid.folder)


def failed(workdir) -> list[str]:
    """The folders of a grid's runs that failed; none where there is no grid yet."""
    from cnnvision.runs.grid import GRID, failure, read
    from cnnvision.storage import path_of

    grid = path_of(workdir)
    cells = read(grid)["cells"] if (grid / GRID).exists() else []
    return [cell["folder"] for cell in cells if failure(grid / cell["folder"])]


def shard_of(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8). Raises ConfigError for what is no part of a whole."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard={text}: write it as I/N, from 1/N to N/N")
    return int(match[1]), int(match[2])


def command(arguments: list[str] | None = None) -> int:
    """Parses, trains, prints the table; returns 1 where a run of the grid failed."""
    parser = Parser("ablate", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, with a sweep()")
    parser.add_argument(
        "--workdir", required=True, type=folder, metavar="DIR", help="the folder of the runs, local or gs://"
    )
    parser.add_argument("--sweep", default="", metavar="NAME", help="which, where the config has several")
    add_grid(parser)
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N parts of the runs alone, from 1/N on")
    flags, overrides = parser.parse(arguments)
    shard = shard_of(flags.shard)
    cache_compilations()
    print(run(flags.config, overrides, flags.workdir, flags.seeds, flags.at_once, shard, sweep=flags.sweep))
    return int(bool(failed(flags.workdir)))


if __name__ == "__main__":
    main(command)
