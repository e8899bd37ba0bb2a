"""Runs one step of a run again, from the checkpoint before it, and says which numbers are not finite.

    python -m experiments.replay --workdir=DIR [--step=N]

For a run that stopped because a loss or a gradient was not finite: it saved the state before that step.
"""

from .command_line import Parser, cache_compilations, folder, main


def run(workdir, step: int | None = None) -> list[str]:
    """Replays step `step` (the last checkpoint's by default); returns what was found, a line each."""
    from cnnvision.errors import RunError
    from cnnvision.runs import config_json
    from cnnvision.runs.configuration import from_json
    from cnnvision.runs.join import join
    from cnnvision.training.checkpoint import Checkpoints
    from cnnvision.training.failure import replay
    from cnnvision.training.loop import first_state
    from cnnvision.training.sharding import put_batch

    config = from_json(config_json.read(workdir)["config"])
    made = join(config, workdir, say=lambda line: None)
    checkpoints = Checkpoints(workdir, made.task.best, config.training.keep, read_only=True)
    latest = checkpoints.latest()
    if latest is None or step not in (None, latest):
        raise RunError(f"{workdir}: the last checkpoint is of step {latest}; only that step can be replayed")
    state = first_state(made, checkpoints)
    checkpoints.close()
    loaded = next(iter(made.train_batches(latest, latest + 1)))
    training = config.training
    batch = put_batch(loaded.batch, made.mesh)
    return replay(made.task, state.params, state.model_state, batch, made.mesh, training.seed, latest, training.accumulate)


def command(arguments: list[str] | None = None) -> int:
    """Parses, replays, prints; exit code 1 where something is not finite."""
    parser = Parser("replay", __doc__)
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="a run folder")
    parser.add_argument("--step", type=int, metavar="N", help="the last checkpoint's step by default")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    lines = run(flags.workdir, flags.step)
    print("\n".join(lines))
    return int(any("not finite" in line or line.endswith((" nan", " inf", " -inf")) for line in lines))


if __name__ == "__main__":
    main(command)
