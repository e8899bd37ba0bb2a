"""Writes the scripts that start a run on Cloud TPUs, watch it, stop it and delete what costs money; runs nothing itself.

    python -m experiments.launch --route=gke --topology=v6e:4x4 --config=configs/NAME.py --workdir=gs://BUCKET/RUN \\
        --project=PROJECT --zone=us-central1-b [--spot] [--output=DIR]

Routes: gce, groups of hosts on Compute Engine (v5p, v6e, TPU7x); gke, Kubernetes with JobSet (all); xpk, the short way to
the same; tpu-vm, Google's frozen interface (v5e). Keys of the config are set with --config.KEY=VALUE, as for `train`; what
the hosts would find out when they cost money is found out here: names that Google Cloud refuses, a batch that the chips do
not divide, data that lie on this machine. docs/cloud.md says what the project needs first.
"""

import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from cnnvision.errors import RunError

from .command_line import Parser, check_output, folder, main


def run(output: str | None = None, **asked: Any) -> dict[str, str]:
    """The files: name -> text; they are written where a folder is named.

    Args:
        output: a folder of this machine, made where there is none.
        asked: the arguments of `launching.request.request`.

    Raises:
        ConfigError: a value that Google Cloud, the hosts or the run could not use. RunError: `output` is a file, or has the
            scripts of another launch.
    """
    from .launching.rendering import files_of
    from .launching.request import request

    files = files_of(request(**asked))
    if output is not None:
        check_output(output)
        place = pathlib.Path(output)
        place.mkdir(parents=True, exist_ok=True)
        check_free(place, files)
        for file, text in files.items():
            (place / file).write_text(text)
    return files


def check_free(place: pathlib.Path, files: Mapping[str, str]) -> None:
    """Raises RunError where a folder has the scripts of another launch: without its delete.sh, its hosts go on costing."""
    there = place / "delete.sh"
    if there.exists() and there.read_text() != files["delete.sh"]:
        raise RunError(f"--output={place}: has the delete.sh of another launch, which would be lost; name another folder")
    for name in ("jobset.yaml", "node.yaml", "host.sh"):  # of an earlier launch of the same name
        if name not in files:
            (place / name).unlink(missing_ok=True)


def command(arguments: list[str] | None = None) -> int:
    """Parses, and writes or prints the files."""
    parser = Parser("launch", __doc__)
    parser.add_argument("--route", required=True, metavar="ROUTE", help="gce, gke, xpk or tpu-vm")
    parser.add_argument("--topology", required=True, metavar="CHIP:AxB", help="v6e:4x4, v5p:2x2x2, …")
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="configs/NAME.py or NAME, and a variant")
    parser.add_argument("--workdir", required=True, metavar="gs://…", help="the run folder, in a bucket")
    parser.add_argument("--project", required=True, metavar="ID", help="of Google Cloud")
    parser.add_argument("--zone", required=True, metavar="ZONE", help="us-central1-b, …")
    parser.add_argument("--image", metavar="IMAGE", help="REGION-docker.pkg.dev/PROJECT/cnnvision/tpu:latest by default")
    parser.add_argument("--name", metavar="NAME", help="of all that is made; the config's by default")
    parser.add_argument("--spot", action="store_true", help="hosts that cost less and may be taken away")
    parser.add_argument("--tfds", metavar="gs://…", help="folder of prepared data sets, for data named tfds:NAME")
    parser.add_argument("--output", type=folder, metavar="DIR", help="where the files are written; printed by default")
    flags, overrides = parser.parse(arguments)
    files = run(**vars(flags), overrides=overrides)
    if flags.output is None:
        print("\n".join(f"# ——— {name} ———\n{text}" for name, text in files.items()))
    else:
        create = shlex.quote(f"{flags.output}/create.sh")
        print(f"{', '.join(files)} are in {flags.output}. Nothing was run. Read create.sh, then: bash {create}")
    return 0


if __name__ == "__main__":
    main(command)
