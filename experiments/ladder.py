"""Trains the systems of one family on the same data, or goes on with them, and compares them in one table.

    python -m experiments.ladder --family=NAME --data=SOURCE --workdir=DIR [--only=NAME,…] [--seeds=N] [--smoke]
        [--config.KEY=VALUE ...]

Each system is a run of its own in DIR/NAME, by its own config, or `--seeds` of them; the steps of segmentation's are equal
seconds of training on two x86 cores (configs/unet_shapes.py). `--only` takes some of the systems; `--config.KEY=VALUE` sets
a key of all of them. What is finished is not trained again, and a killed command goes on where it was. Writes DIR/ladder.md,
ladder.csv and ladder.png (the predictions of each network on the same images), and of detectors ladder_seconds.png and
ladder_errors.png. An order is claimed only where a verdict over seeds and images does (docs/ablations.md).
Families: segmentation, detection.
"""

import os
import shlex

from cnnvision.installation import typed

from .command_line import Parser, add_grid, cache_compilations, chosen_of, folder, main, names_in

FAMILIES = {
    "segmentation": {
        "patch classifier": "patchnet_shapes",
        "full resolution": "fullres_shapes",
        "encoder-decoder": "encdec_shapes",
        "U-Net without skips": "unet_shapes:noskips",
        "U-Net": "unet_shapes",
    },
    "detection": {
        "random crops": "random_crops_shapes",
        "R-CNN": "rcnn_shapes",
        "Fast R-CNN": "fast_rcnn_shapes",
        "Faster R-CNN": "faster_rcnn_shapes",
        "YOLO": "yolo_shapes",
        "SSD": "ssd_shapes",
        "Mask R-CNN": "mask_rcnn_shapes",
    },
}
"""Family -> name of each system, in the order of the story -> its config."""

VARIANTS = {"patch classifier": ("window by window instead of densely", {"run": "patches"})}
"""System -> another way to compute its prediction, of which the cost is told, too: its name, and keys of config.model."""


def run(
    family: str, data: str, workdir, smoke: bool = False, say=print, overrides=(), only=(), seeds: int = 1, at_once: int = 1
) -> str:
    """Trains, evaluates and measures a family; returns the report, and writes it with its table and picture.

    Args:
        family: a key of `FAMILIES`.
        data: the source string, for all of them.
        workdir: the folder of the runs.
        smoke: the smoke variants: seconds, and numbers that mean nothing.
        overrides: (dotted key without "config.", value as typed), for all configs.
        only: names of some of the family's systems; all of them by default.
        seeds: of each system.
        at_once: how many runs are trained at a time.

    Raises:
        ConfigError: an unknown family or system, or a key that one of the configs cannot take.
        RunError: the folder of one holds a run on other data, or one could not be trained.
        Stopped: it was asked to stop.
    """
    from cnnvision.errors import ConfigError, RunError
    from cnnvision.runs.cells import train_cells
    from cnnvision.runs.configuration import load_config
    from cnnvision.runs.grid import Grid, Variant
    from cnnvision.settings import check_name
    from cnnvision.storage import path_of

    from .reports import comparison

    if any(key == "data.source" for key, _ in overrides):
        raise ConfigError("--config.data.source: the ladder takes its data from --data")
    systems, variants = FAMILIES[check_name("--family", family, FAMILIES)], {}
    chosen = chosen_of(only, systems)
    for name, argument in systems.items():
        if name not in chosen:
            continue
        if smoke:
            argument = f"{argument}-smoke" if ":" in argument else f"{argument}:smoke"
        keys = [*overrides, ("data.source", data)]
        try:
            variants[name] = Variant(argument, keys, load_config(argument, keys))
        except ConfigError as error:
            raise ConfigError(f"{error} (That is {argument}; keys are set in all configs of the ladder.)") from error
    flags = [f"--family={family}", f"--data={data}", f"--workdir={workdir}", f"--seeds={seeds}", *["--smoke"] * smoke]
    flags += [f"--only={','.join(chosen)}"] * bool(only) + [f"--config.{key}={value}" for key, value in overrides]
    grid = Grid(path_of(workdir), typed(f"ladder {shlex.join(flags)}"), {}, variants, seeds)
    grid.check()
    cells = grid.cells()
    for cell in cells:
        check_data(cell.folder, data)
    grid.write()
    train_cells(cells, at_once, say)
    if failed := [cell for cell in cells if cell.failure]:
        raise RunError(
            "; ".join(f"{cell.name} failed: {cell.failure}" for cell in failed) + ". The same command tries again"
        )
    runs = {name: {cell.seed: cell.folder for cell in cells if cell.variant == name} for name in variants}
    return comparison.compare(runs, VARIANTS, grid.folder, say)


def check_data(workdir, data: str) -> None:
    """Raises RunError where a folder holds a run on other data than `data`; paths are compared as absolute ones."""
    from cnnvision.errors import RunError
    from cnnvision.runs import config_json

    if not (workdir / "config.json").exists():
        return
    there = config_json.read(workdir)["config"]["data"]["source"]
    kind_and_folder = lambda source: (source.partition(":")[0], os.path.realpath(source.partition(":")[2]))
    if kind_and_folder(there) != kind_and_folder(data):
        raise RunError(
            f"{workdir} holds a run on {there!r}, and --data is {data!r}: give another --workdir, or --data={there}. "
            "(Where the data have only moved, correct data.source in its config.json.)"
        )


def command(arguments: list[str] | None = None) -> int:
    """Parses, runs, prints the report."""
    parser = Parser("ladder", __doc__, keys=True)
    parser.add_argument("--family", required=True, metavar="NAME", help=f"one of: {', '.join(FAMILIES)}")
    parser.add_argument("--data", required=True, metavar="SOURCE", help="shapes, masks:DIR, coco:DIR …")
    parser.add_argument("--workdir", required=True, type=folder, metavar="DIR", help="the folder of the runs")
    parser.add_argument("--only", metavar="NAME,NAME", help="some of the systems, e.g. --only=faster_rcnn,yolo")
    add_grid(parser)
    parser.add_argument("--smoke", action="store_true", help="seconds a system; numbers mean nothing")
    flags, overrides = parser.parse(arguments)
    cache_compilations()
    only = names_in(flags.only)
    seeds = {"seeds": flags.seeds, "at_once": flags.at_once}
    print(run(flags.family, flags.data, flags.workdir, flags.smoke, overrides=overrides, only=only, **seeds))
    return 0


if __name__ == "__main__":
    main(command)
