"""Examines a data set before training does, and lists every fault with its cure.

    python -m experiments.doctor --data=SOURCE [--split=NAME] [--all] [--split-file=FILE]

Decodes every image. Of many faults of one kind the first three are shown, with --all each. --split-file writes which images
are train and which val; as DIR/split.csv it is what divides a data set without splits. Exit code 0: nothing has to be left
out; 1: something has; 2: there is no such data set.
"""

from typing import TYPE_CHECKING

from .command_line import Parser, main
from .reports.tables import markdown

if TYPE_CHECKING:
    from cnnvision.data.doctor import Report

MOST = 3
"""Faults of one kind that are shown."""


def run(data: str, split: str | None = None, progress: bool = True) -> "Report":
    """The report on a data set; of all its splits, or of one."""
    from cnnvision.data import doctor

    return doctor.examine(data, (split,) if split else None, progress)


def describe(report: "Report", most: int | None = None) -> str:
    """A report as text: one line a problem, the gravest first, then tables of what there is.

    Args:
        report: of `run`.
        most: how many problems of one kind are shown, the others counted; None for all.
    """
    from cnnvision.data import faults

    parts = []
    for effect in faults.EFFECTS:
        found = [problem for problem in report.problems if problem.effect == effect]
        if found:
            lines = [f"{effect} ({len(found)})"]
            for kind in faults.kinds(found):
                lines += [f"  {problem}" for problem in kind[:most]]
                if most is not None and len(kind) > most:
                    lines.append(f"  … and {len(kind) - most} more of this kind; --all shows them")
            parts.append("\n".join(lines))
    if report.splits:
        parts.append(_size_table(report))
    for what in ("labels", "objects", "pixels"):
        counts = {split: getattr(statistics, what) for split, statistics in report.splits.items()}
        if any(counts.values()):
            parts.append(_class_table(what, counts))
    parts += report.notes
    return "\n\n".join([*parts, f"{report.name}: {faults.by_effect(report.problems) or 'nothing to mend'}."])


def write_split(data: str, file: str) -> None:
    """Writes which images of a data set are of which split, as a CSV. Raises DataError where it cannot be opened."""
    import pathlib

    from cnnvision.data.sources import open_source, split_names
    from cnnvision.data.sources.division import write_division

    write_division(pathlib.Path(file), {split: open_source(data, split).ids for split in split_names(data)})


def _size_table(report: "Report") -> str:
    header = ["split", "examples", "width: least … median … greatest", "height"]
    areas = next((list(s.areas) for s in report.splits.values() if s.areas), [])
    rows = []
    for split, found in report.splits.items():
        spans = [f"{low} … {middle} … {high}" for low, middle, high in (found.widths, found.heights)]
        counts = [sum(found.objects.values()), found.crowd, *(found.areas.get(name, 0) for name in areas)] if areas else []
        rows.append([split, found.examples, *spans, *counts])
    return markdown(header + (["objects", "crowd", *areas] if areas else []), rows)


def _class_table(what: str, counts: dict[str, dict[str, int]]) -> str:
    title = {"labels": "class of the image", "objects": "class of objects", "pixels": "class of pixels"}[what]
    names = dict.fromkeys(name for of_split in counts.values() for name in of_split)
    return markdown([title, *counts], [[name, *(of_split.get(name, 0) for of_split in counts.values())] for name in names])


def command(arguments: list[str] | None = None) -> int:
    """Parses, examines, prints."""
    parser = Parser("doctor", __doc__)
    parser.add_argument("--data", required=True, metavar="SOURCE", help="shapes, tfds:NAME, voc:DIR, csv:DIR, folder:DIR …")
    parser.add_argument("--split", metavar="NAME", help="one split; all by default")
    parser.add_argument("--all", action="store_true", help="show every fault, not three of each kind")
    parser.add_argument("--split-file", metavar="FILE", help="write which image is train and which is val, as CSV")
    flags, _ = parser.parse(arguments)
    report = run(flags.data, flags.split)
    print(describe(report, None if flags.all else MOST))
    if flags.split_file:
        write_split(flags.data, flags.split_file)
        print(f"Written: {flags.split_file}")
    return int(not report.healthy)


if __name__ == "__main__":
    main(command)
