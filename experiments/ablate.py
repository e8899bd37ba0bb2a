"""Trains each variant of a config's `sweep()`, and compares them in one table.

    python -m experiments.ablate --config=configs/NAME.py[:VARIANT] --workdir=DIR [--config.KEY=VALUE ...]

Each variant is a run of its own in DIR/NAME. What is finished is not trained again, and a killed command goes on where it
was. One seed each: a small difference is not a finding.
"""

from .command_line import Parser, cache_compilations, folder, main


def run(config_argument: str, overrides, workdir, say=print) -> str:
    """Trains and evaluates every variant; returns the Markdown table, and writes it with a CSV into `workdir`."""
    from cnnvision.errors import ConfigError
    from cnnvision.runs.configuration import load_config, load_module, split_variant
    from cnnvision.storage import path_of, write_whole

    from . import train
    from .reports.tables import comma_separated, markdown

    swept = lambda module: {key for keys in module.sweep().values() for key in keys}
    module = load_module(split_variant(config_argument)[0])
    if not hasattr(module, "sweep"):
        raise ConfigError(f"--config: {config_argument} has no sweep(); it returns a dict of name -> keys that it sets")
    if both := sorted(swept(module) & {key for key, _ in overrides}):
        raise ConfigError(f"--config.{both[0]}: the sweep sets this key itself; change sweep() in the config")
    variants = {
        name: load_config(config_argument, [*overrides, *((key, str(value)) for key, value in keys.items())])
        for name, keys in module.sweep().items()
    }
    workdir = path_of(workdir)
    results = train.run_all(variants, lambda name: workdir / name, say)
    metrics = [key for key in next(iter(results.values())) if "/" not in key]
    rows = [[name, *(result[key] for key in metrics)] for name, result in results.items()]
    table = markdown(("run", *metrics), rows)
    write_whole(workdir / "table.md", table + "\n")
    write_whole(workdir / "table.csv", comma_separated(("run", *metrics), rows))
    return table


def command(arguments: list[str] | None = None) -> int:
    """Parses, trains, prints the table."""
    parser = Parser("ablate", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, with a sweep()")
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="the folder of the runs")
    flags, overrides = parser.parse(arguments)
    cache_compilations()
    print(run(flags.config, overrides, flags.workdir))
    return 0


if __name__ == "__main__":
    main(command)
