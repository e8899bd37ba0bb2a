"""Writes a trained network as files that other programs use: StableHLO, safetensors, and a script that predicts with them.

    python -m experiments.export --workdir=DIR --output=DIR [--step=N] [--onnx]
    python -m experiments.export --config=configs/NAME.py --config.model.pretrained=FILE --output=DIR

Writes predict.bin (jax.export; CPUs, CUDA GPUs and TPUs, batches of any size), parameters.safetensors, export.json (classes,
sizes, outputs) and predict.py, which needs `pip install jax flatbuffers numpy pillow` and not this package. The JAX that
wrote a program reads it, and those released within six months after that one; export.json has the command that writes it
again.

--onnx writes network.onnx and network.json (classes, sizes, outputs) instead, of classifiers, localizers and segmenters, for
one image at a time. `pip install cnnvision[onnx]` brings older versions of other packages: do so in an environment of its
own. ONNX's runtime must predict what JAX does, or nothing is written.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from cnnvision.installation import typed

from .command_line import Parser, add_network, check_output, config_of, folder, main


def run(
    workdir,
    output: str,
    step: int | None = None,
    onnx: bool = False,
    say=print,
    config: Any = None,
    flags: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Exports; returns the content of export.json, or of each output in ONNX how far it is from JAX's.

    Args:
        workdir: a run folder; None where `config` is given, a ConfigDict whose weights are a file of a whole network.
        output: a folder.
        step: of the checkpoint; the best one by default.
        onnx: see above.
        say: prints a line.
        config: see `workdir`.
        flags: of the command that does the same, by default those of `workdir`, `step` and `output`.
    """
    from cnnvision.runs.export import about, write
    from cnnvision.runs.onnx import onnx_of
    from cnnvision.runs.open import from_weights, load
    from cnnvision.storage import check_writable, path_of, write_whole

    check_output(output)
    check_writable(output)
    trained = load(workdir, step) if config is None else from_weights(config, say=say)
    if onnx:
        content, differences = onnx_of(trained)
        write_whole(path_of(output) / "network.onnx", content)
        write_whole(path_of(output) / "network.json", json.dumps(about(trained), indent=1) + "\n")
        listed = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
        say(f"Written: {output}/network.onnx. Its outputs differ from JAX's on a drawn image by (shares): {listed}")
        return differences
    flags = flags or [f"--workdir={workdir}", f"--step={trained.step}", f"--output={output}"]
    again = f"{typed('export')} {shlex.join(flags)}"
    content = write(trained, output, again)
    say(f"Written: {output}/predict.bin, parameters.safetensors, export.json, predict.py")
    say(f"predict.bin is read by {content['readable_by']}; it is written again by: {again}")
    return content


def command(arguments: list[str] | None = None) -> int:
    """Parses and exports."""
    parser = Parser("export", __doc__)
    add_network(parser)
    parser.add_argument("--output", required=True, type=folder, metavar="DIR", help="where the files go")
    parser.add_argument("--onnx", action="store_true", help="network.onnx instead")
    flags, overrides = parser.parse(arguments)
    config = config_of(parser, flags, overrides)
    given = None if config is None else (sys.argv[1:] if arguments is None else arguments)
    run(flags.workdir, flags.output, flags.step, flags.onnx, config=config, flags=given)
    return 0


if __name__ == "__main__":
    main(command)
