"""Writes a trained network as files that other programs use: StableHLO, safetensors, and a script that predicts with them.

    python -m experiments.export --workdir=DIR --output=DIR [--step=N] [--onnx]
    python -m experiments.export --config=configs/NAME.py --config.model.pretrained=FILE --output=DIR

Writes predict.bin (jax.export; CPUs, CUDA GPUs and TPUs, batches of any size), parameters.safetensors, export.json (classes,
sizes, outputs) and predict.py, which needs `pip install jax flatbuffers numpy pillow` and not this package. JAX reads such a
program for six months; the date is printed, and export.json has the command that writes it again.

--onnx writes network.onnx instead, of classifiers, localizers and segmenters, for one image at a time (`pip install
cnnvision[onnx]`, which brings older versions of other packages: in an environment of its own). ONNX's runtime must predict
what JAX does, or nothing is written.
"""

from typing import Any

from cnnvision.installation import typed

from .command_line import Parser, add_network, check_output, config_of, folder, main


def run(workdir, output: str, step: int | None = None, onnx: bool = False, say=print, config: Any = None) -> dict[str, Any]:
    """Exports; returns the content of export.json, or of each output in ONNX how far it is from JAX's.

    Args:
        workdir: a run folder; None where `config` is given, a ConfigDict whose weights are a file of a whole network.
        output: a folder.
        step: of the checkpoint; the best one by default.
        onnx: see above.
        say: prints a line.
        config: see `workdir`.
    """
    from cnnvision.runs.export import write
    from cnnvision.runs.onnx import onnx_of
    from cnnvision.runs.open import from_weights, load
    from cnnvision.storage import check_writable, path_of, write_whole

    check_output(output)
    check_writable(output)
    trained = load(workdir, step) if config is None else from_weights(config, say=say)
    if onnx:
        content, differences = onnx_of(trained)
        write_whole(path_of(output) / "network.onnx", content)
        listed = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
        say(f"Written: {output}/network.onnx. Its outputs differ from JAX's on a drawn image by (shares): {listed}")
        return differences
    again = typed(f"export --workdir={workdir} --step={trained.step} --output={output}")
    content = write(trained, output, again)
    say(f"Written: {output}/predict.bin, parameters.safetensors, export.json, predict.py")
    say(f"JAX {content['jax']} and later read predict.bin until {content['readable_until']} at least; then: {again}")
    return content


def command(arguments: list[str] | None = None) -> int:
    """Parses and exports."""
    parser = Parser("export", __doc__)
    add_network(parser)
    parser.add_argument("--output", required=True, type=folder, metavar="DIR", help="where the files go")
    parser.add_argument("--onnx", action="store_true", help="network.onnx instead")
    flags, overrides = parser.parse(arguments)
    config = config_of(parser, flags, overrides)
    run(flags.workdir, flags.output, flags.step, flags.onnx, config=config)
    return 0


if __name__ == "__main__":
    main(command)
