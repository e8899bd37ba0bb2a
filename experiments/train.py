"""Trains what a config describes, or goes on with it.

    python -m experiments.train --config=configs/NAME.py[:VARIANT] --workdir=DIR [--config.KEY=VALUE ...]

Everything ends up in the run folder: config.json, metrics.jsonl, tensorboard/, checkpoints/, pictures/. The same command
goes on after an interruption. On several hosts, start it on each (a Cloud TPU pod needs `--distributed` alone).
"""

from cnnvision.errors import TRY_AGAIN

from .command_line import Parser, cache_compilations, folder, main, told


def run(config, workdir, say=print) -> dict[str, float]:
    """Trains `config` (a ConfigDict) in `workdir`; returns the metrics of the last evaluation.

    The function behind the command, for notebooks: `run(load_config("configs/NAME.py"), "runs/NAME")`.
    """
    from cnnvision.runs.agreement import join_together
    from cnnvision.training.loop import train

    return train(join_together(config, workdir, say=say))


def command(arguments: list[str] | None = None) -> int:
    """Parses and runs; returns the exit code (TRY_AGAIN where the run was asked to stop before its end)."""
    parser = Parser("train", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, and a variant")
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="the run folder, local or gs://")
    parser.add_argument("--distributed", action="store_true", help="join the other hosts (Cloud TPU pods, Slurm, …)")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="join the others at this address, where nothing tells it")
    parser.add_argument("--processes", type=int, metavar="N", help="how many processes; with --coordinator")
    parser.add_argument("--process", type=int, metavar="I", help="which of them this one is, from 0; with --coordinator")
    parser.add_argument(
        "--patience",
        type=int,
        default=50,
        metavar="SECONDS",
        help="after which another process that gives no sign of life counts as gone, 50 by default; twice that at the start",
    )
    flags, overrides = parser.parse(arguments)
    together = (flags.coordinator, flags.processes, flags.process)
    if any(value is not None for value in together) and None in together:
        parser.error("--coordinator, --processes and --process go together")
    if flags.patience < 1:
        parser.error(f"--patience={flags.patience}: at least a second")

    from cnnvision.runs.configuration import load_config

    config = load_config(flags.config, overrides)
    cache_compilations()
    import jax

    from cnnvision.runs import hosts

    if flags.distributed or flags.coordinator:
        hosts.come_together(*together, flags.patience)
    try:
        metrics = run(config, flags.workdir)
    except (Exception, KeyboardInterrupt) as error:
        if jax.process_count() > 1:
            hosts.end(told(hosts.explained(error)))
        raise
    if not metrics:
        return TRY_AGAIN
    from .reports.tables import markdown

    print(markdown(("metric", "value"), list(metrics.items())))
    print(f"Pictures (inputs, predictions at each evaluation, curves): {flags.workdir}/pictures")
    print(f"Numbers: {flags.workdir}/metrics.jsonl")
    return 0


if __name__ == "__main__":
    main(command)
