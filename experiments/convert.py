"""Writes the objects of a data set in COCO's layout, for other programs to read; semantic maps are not written.

    python -m experiments.convert --data=SOURCE --output=coco:DIR [--suffix=2017]

All splits are written. Exit code 1 where examples had to be left out.
"""

from typing import TYPE_CHECKING

from cnnvision.errors import DataError, nearest
from cnnvision.installation import typed

from .command_line import Parser, main

if TYPE_CHECKING:
    from cnnvision.data.sources.coco.writer import Written


def run(data: str, output: str, suffix: str = "", progress: bool = True, say=print) -> list["Written"]:
    """Writes all splits of `data` to `output`, a string ``coco:DIR``; `suffix` is appended to the names of the splits.

    Raises:
        DataError: the data cannot be used, or the output is there already.
    """
    from cnnvision.data.sources import open_source, split_names
    from cnnvision.data.sources.coco.writer import write_coco
    from cnnvision.storage import is_remote

    kind, _, folder = output.partition(":")
    if kind != "coco" or not folder:
        raise DataError(f"--output={output}: should read coco:DIR.{nearest(kind, ['coco'])}")
    if is_remote(folder):
        there = f"`gcloud storage cp -r DIR {folder}` copies it there"
        raise DataError(f"--output={output}: convert writes to this machine. Name a folder here; {there}.")
    sources = []
    for split in split_names(data):
        sources.append(open_source(data, split, sources[0].classes if sources else None))
        left_out = sum(problem.effect in ("left out", "object left out") for problem in sources[-1].problems)
        if left_out:
            say(f"{split}: {left_out} faults of the data are left out; {typed(f'doctor --data={data}')} lists them")
    if sources[0].semantic_classes:
        say("semantic maps are not written: COCO's files of instances cannot hold them")
    written = write_coco(sources, folder, suffix, progress)
    for found in written:
        for problem in found.left_out:
            say(str(problem))
        say(f"{found.split}: {found.images} images with {found.objects} objects")
    return written


def command(arguments: list[str] | None = None) -> int:
    """Parses and converts."""
    parser = Parser("convert", __doc__)
    parser.add_argument("--data", required=True, metavar="SOURCE", help="shapes, tfds:NAME, voc:DIR, csv:DIR …")
    parser.add_argument("--output", required=True, metavar="coco:DIR", help="a folder that does not exist yet")
    parser.add_argument(
        "--suffix", default="", metavar="TEXT", help="appended to names of splits: 2017 for COCO's own names"
    )
    flags, _ = parser.parse(arguments)
    return int(any(found.left_out for found in run(flags.data, flags.output, flags.suffix)))


if __name__ == "__main__":
    main(command)
