"""Fits anchors to the boxes of a data set, and tells how well they and the config's own reach its objects.

    python -m experiments.anchors --config=configs/NAME.py[:VARIANT] [--images=1000] [--config.KEY=VALUE ...]

For detectors with `config.model.anchors`: sizes and ratios by k-means of the training boxes in input pixels, as many as the
config has. Prints the two keys to set, and of both sets of anchors the share of objects that have one with an IoU of .5 and
of .7 at its place. Nothing is trained or written.
"""

import tempfile

from .command_line import Parser, main


def run(config_argument: str, overrides=(), images: int = 1000, say=print) -> dict[str, tuple]:
    """Fits and compares; returns the keys to set.

    Args:
        config_argument: of a detector with anchors.
        overrides: (dotted key without "config.", value as typed).
        images: of the training split, the first ones.
        say: prints a line.

    Raises:
        ConfigError: the config has no anchors.
        DataError: none of the images has an object.
    """
    import numpy as np

    from cnnvision.errors import ConfigError, DataError
    from cnnvision.models import make_task
    from cnnvision.runs.anchors import ENOUGH, boxes_of, fit, reach
    from cnnvision.runs.configuration import load_config
    from cnnvision.runs.join import data_info, join, open_source

    from .reports.tables import markdown

    config = load_config(config_argument, overrides)
    if "anchors" not in config.model:
        raise ConfigError(f"config.model.anchors: {config_argument} has none; Faster and Mask R-CNN have anchors")
    with tempfile.TemporaryDirectory() as folder:
        made = join(config, folder, say=say)
    batches = [loaded.batch for loaded in made.fit_batches(images, 0)]
    boxes = np.concatenate([each for batch in batches for each in boxes_of(batch)])
    if not len(boxes):
        raise DataError(f"{config.data.source} {config.data.train_split}: no object in the first {images} images")
    now = config.model.anchors
    sizes, ratios = fit(boxes, len(now.sizes), len(now.ratios))
    keys = {"sizes": tuple((round(size, 1),) for size in sizes), "ratios": tuple(round(ratio, 2) for ratio in ratios)}
    fitted = load_config(config_argument, [*overrides, *((f"model.anchors.{key}", str(keys[key])) for key in keys)])
    info = data_info(open_source(config.data.source, config.data.train_split))
    rows = []
    for name, settings, task in (("the config's", now, made.task), ("fitted", keys, make_task(fitted, info))):
        found = reach(task, batches)
        shown = [" ".join(f"{size:g}" for of_map in settings["sizes"] for size in of_map)]
        shown.append(" ".join(f"{ratio:g}" for ratio in settings["ratios"]))
        rows.append([name, *shown, found.mean, *found.shares])
    say(f"{len(boxes)} objects of the first {images} training images")
    say(markdown(("anchors", "sizes", "ratios", "mean IoU", *(f"IoU ≥ {least}" for least in ENOUGH)), rows))
    say(" ".join(f"--config.model.anchors.{key}='{value}'" for key, value in keys.items()))
    return keys


def command(arguments: list[str] | None = None) -> int:
    """Parses, fits, prints."""
    parser = Parser("anchors", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, and a variant")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="of the training split; 1000 by default")
    flags, overrides = parser.parse(arguments)
    if flags.images < 1:
        parser.error(f"--images={flags.images}: at least 1")
    run(flags.config, overrides, flags.images)
    return 0


if __name__ == "__main__":
    main(command)
