"""Trains the systems of one family on the same data, or goes on with them, and compares them in one table.

    python -m experiments.ladder --family=segmentation --data=SOURCE --workdir=DIR [--smoke]

Each system is a run of its own in DIR/NAME, by its own config. (Their steps are not yet set to equal minutes on one
machine, so the table compares configs, not budgets.) What is finished is not trained again, and a killed command goes on
where it was. Writes DIR/ladder.md, ladder.csv and ladder.png: what each network answers on the same images.
"""

import sys

from experiments.command_line import Parser, cache_compilations, main

FAMILIES = {
    "segmentation": {
        "patch classifier": "configs/patchnet_shapes.py",
        "full resolution": "configs/fullres_shapes.py",
        "encoder-decoder": "configs/encdec_shapes.py",
        "U-Net without skips": "configs/unet_shapes.py:noskips",
        "U-Net": "configs/unet_shapes.py",
    }
}
"""Family -> name of each system, in the order of the story -> its config."""


def run(family: str, data: str, workdir, smoke: bool = False, say=print) -> str:
    """Trains, evaluates and measures a family; returns the report, and writes it with its table and picture.

    Args:
        family: a key of `FAMILIES`.
        data: the source string, for all of them.
        workdir: the folder of the runs.
        smoke: the smoke variants: seconds, and numbers that mean nothing.
    """
    from etils import epath

    from cnnvision.errors import check_name
    from experiments import segmentation_ladder, train
    from experiments.configuration import load_config

    configs = {}
    for name, argument in FAMILIES[check_name("--family", family, FAMILIES)].items():
        if smoke:
            argument = f"{argument}-smoke" if ".py:" in argument else f"{argument}:smoke"
        configs[name] = load_config(argument, [("data.source", data)])
    workdir = epath.Path(workdir)
    folder = lambda name: workdir / name.lower().replace(" ", "_")
    train.run_all(configs, folder, say)
    compare = {"segmentation": segmentation_ladder.compare}[family]
    return compare({name: folder(name) for name in configs}, workdir, say)


def command(arguments: list[str] | None = None) -> int:
    """Parses, runs, prints the report."""
    parser = Parser("ladder", __doc__)
    parser.add_argument("--family", required=True, metavar="NAME", help=f"one of: {', '.join(FAMILIES)}")
    parser.add_argument("--data", required=True, metavar="SOURCE", help="shapes, masks:DIR, coco:DIR …")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the folder of the runs")
    parser.add_argument("--smoke", action="store_true", help="seconds a system; numbers mean nothing")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    print(run(flags.family, flags.data, flags.workdir, flags.smoke))
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    main(command)
