"""Tells which of several trained runs are better, on the images that they were evaluated on.

    python -m experiments.compare RUN RUN [RUN …] [--metric=NAME,…] [--split=NAME] [--output=DIR]

Each RUN is a run folder, or the folder of a grid (`ablate`), whose runs are all taken. Runs of one config that differ in the
seed alone are one variant; the same seeds of each variant are needed. All must have been evaluated on the same images. With
one seed of each, the verdicts speak of these trainings alone. The last evaluation of each run counts, or with `--split` that
of `evaluate --split`. `--output=DIR` writes the tables (Markdown, CSV, LaTeX).
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .command_line import Parser, check_output, folder, main, names_in


def run(runs: Sequence[str], metrics: Sequence[str] = (), output: str | None = None, split: str = "") -> str:
    """Compares run folders; returns the report, and writes it into `output` as compare.md, .csv and .tex.

    Args:
        runs: folders of runs or of grids.
        metrics: their names; by default those that the runs' evaluators compare.
        output: a folder.
        split: that `evaluate` was given; "" for the runs' own last evaluations.

    Raises:
        RunError: a folder is no run, or two were evaluated on different images.
        ConfigError: a metric that none of them has.
    """
    from cnnvision.storage import path_of

    from .reports.judged import judge

    if output is not None:
        check_output(output)
    variants = grouped([each for path in runs for each in run_folders(path_of(path))])
    judged = judge(variants, missing_seeds(variants), metrics, split=split)
    return judged.report() if output is None else judged.write(path_of(output), "compare")


def run_folders(path: Any) -> list[Any]:
    """The folder of a run itself; of a grid those of its finished cells.

    Raises:
        RunError: it is neither.
    """
    from cnnvision.errors import RunError
    from cnnvision.runs.grid import GRID, read
    from cnnvision.training.evaluate import CONTRIBUTIONS

    if (path / "config.json").exists() or not (path / GRID).exists():
        return [path]
    found = [path / cell["folder"] for cell in read(path)["cells"]]
    if not (there := [each for each in found if (each / CONTRIBUTIONS).exists()]):
        raise RunError(f"{path}: none of the grid's runs is evaluated yet")
    return there


def grouped(folders: Sequence[Any]) -> dict[str, dict[int, Any]]:
    """Variant -> seed -> run folder. A variant is a config without its seed; it is named by its first run's folder.

    Raises:
        RunError: the same run twice, or two runs of the same config and seed.
    """
    from cnnvision.errors import RunError
    from cnnvision.runs import config_json
    from cnnvision.runs.grid import without_seed

    configs: list[tuple[Any, dict[int, Any]]] = []
    for path in folders:
        config = config_json.read(path)["config"]
        seed, rest = config["training"]["seed"], without_seed(config)
        of_seeds = next((found for known, found in configs if known == rest), None)
        if of_seeds is None:
            configs.append((rest, {seed: path}))
        elif seed in of_seeds:
            raise RunError(f"{path} and {of_seeds[seed]} are runs of the same config and seed: nothing is to be compared")
        else:
            of_seeds[seed] = path
    variants = [of_seeds for _, of_seeds in configs]
    return dict(zip(names([next(iter(of_seeds.values())) for of_seeds in variants]), variants, strict=True))


def names(folders: Sequence[Any]) -> list[str]:
    """Of variants by a folder of each: its last part, and as many more as tell it from the others'."""
    from cnnvision.runs.grid import OF_SEED

    parts = [OF_SEED.sub("", os.path.normpath(os.fspath(folder))).split(os.sep) for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        found = [os.sep.join(each[-count:]) for each in parts]
        if len(set(found)) == len(found):
            return found
    return [os.fspath(folder) for folder in folders]


def missing_seeds(variants: Mapping[str, Mapping[int, Any]]) -> list[str]:
    """A line for each variant that lacks seeds which others have; none where each has one seed, whichever it is."""
    seeds = {seed for of_seeds in variants.values() for seed in of_seeds}
    if all(len(of_seeds) == 1 for of_seeds in variants.values()):
        return []
    lines = []
    for name, of_seeds in variants.items():
        for seed in sorted(seeds - of_seeds.keys()):
            lines.append(f"{name}, seed {seed}: no run, and no verdict without it; --config.training.seed={seed} trains it")
    return lines


def command(arguments: list[str] | None = None) -> int:
    """Parses, compares, prints."""
    parser = Parser("compare", __doc__)
    parser.add_argument("runs", nargs="+", type=folder, metavar="RUN", help="a run folder, or that of a grid")
    parser.add_argument("--metric", metavar="NAME,NAME", help="by default those that the task is compared by")
    parser.add_argument(
        "--split", default="", metavar="NAME", help="as `evaluate` was given it; the last evaluation by default"
    )
    parser.add_argument("--output", type=folder, metavar="DIR", help="writes compare.md, compare.csv and compare.tex")
    flags, _ = parser.parse(arguments)
    print(run(flags.runs, names_in(flags.metric), flags.output, flags.split))
    return 0


if __name__ == "__main__":
    main(command)
