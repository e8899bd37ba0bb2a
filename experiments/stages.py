"""Shows on one photograph how a two-stage detector comes to its answer.

    python -m experiments.stages --workdir=DIR --image=FILE --output=DIR [--threshold=.5]

Writes a picture a stage: 1_anchors.png (the anchors with the highest objectness, a colour for each map), 2_proposals.png,
3_detections.png, and of Mask R-CNN 4_masks.png (what the mask head gives) and 5_pasted.png. Boxes are drawn on the network's
input. In place of --workdir=DIR, --config=CONFIG --config.model.pretrained=FILE takes a file of weights, as predict does.
"""

import dataclasses
import pathlib

from .command_line import Parser, add_network, cache_compilations, check_output, config_of, folder, main


def run(
    workdir, image: str, output: str, step: int | None = None, threshold: float | None = None, config=None, say=print
) -> dict[str, pathlib.Path]:
    """Draws and writes; returns name of each stage -> file.

    Args:
        workdir, step, config: the network, as for predict.
        image: a file.
        output: a folder.
        threshold: the score from which on detections are drawn; by default the run's own.

    Raises:
        ConfigError: the network has no proposals, or the threshold is no score.
        DataError: there is no such image, or it cannot be read.
        RunError: the output is a file.
    """
    import jax

    from cnnvision.data.pipeline import eval_batches
    from cnnvision.data.sources.loose import LooseImages
    from cnnvision.errors import ConfigError, DataError
    from cnnvision.ops.images import on_mesh
    from cnnvision.pictures.sheets import write_png
    from cnnvision.pictures.stages import draw_stages
    from cnnvision.runs.join import loading, names_of
    from cnnvision.runs.open import from_weights, load
    from cnnvision.storage import check_writable, local_copy, path_of
    from cnnvision.training.sharding import make_mesh, put_batch

    image = local_copy(image)
    if not pathlib.Path(image).expanduser().is_file():
        raise DataError(f"--image: {image} is no file; name one photograph")
    check_output(output)
    check_writable(output)
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"--threshold = {threshold}: must be from 0 to 1, as scores are")
    mesh = make_mesh(jax.devices()[:1])  # one image
    source = LooseImages(image)
    trained = load(workdir, step, mesh) if config is None else from_weights(config, mesh=mesh, say=say)
    task = trained.task
    if "proposals" not in task.parts:
        raise ConfigError(f"config.model.name = {trained.config.model.name!r}: has no proposals of its own to show")
    inputs = dataclasses.replace(task.inputs, target=None)
    options = dataclasses.replace(loading(trained.config), eval_batch_size=1)
    loaded = next(eval_batches(source, inputs, options))
    if loaded.failures:
        raise DataError(str(loaded.failures[0]))
    batch = put_batch(loaded.batch, mesh)
    both = lambda *arguments: (task.parts["proposals"](*arguments), task.predict(*arguments))
    proposed, detections = jax.device_get(jax.jit(on_mesh(both, mesh))(trained.params, trained.model_state, batch))
    of_image = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
    height, width = loaded.batch.size[0]
    found = of_image(proposed.proposals)
    drawn = draw_stages(
        loaded.batch.image[0, :height, :width],
        proposed.anchors,
        proposed.objectness[0],
        (found.boxes, found.scores, found.valid),
        of_image(detections),
        names_of(task, trained.info),
        trained.threshold if threshold is None else threshold,
    )
    files = {}
    for number, (name, picture) in enumerate(drawn.items(), start=1):
        files[name] = path_of(output) / f"{number}_{name}.png"
        write_png(files[name], picture)
    say(f"Written: {', '.join(str(file) for file in files.values())}")
    return files


def command(arguments: list[str] | None = None) -> int:
    """Parses and draws."""
    parser = Parser("stages", __doc__)
    add_network(parser)
    parser.add_argument("--image", required=True, metavar="FILE", help="a photograph")
    parser.add_argument("--output", required=True, type=folder, metavar="DIR", help="where the pictures go")
    parser.add_argument("--threshold", type=float, metavar="X", help="score from which on detections are drawn")
    flags, overrides = parser.parse(arguments)
    config = config_of(parser, flags, overrides)
    cache_compilations()
    run(flags.workdir, flags.image, flags.output, flags.step, flags.threshold, config)
    return 0


if __name__ == "__main__":
    main(command)
