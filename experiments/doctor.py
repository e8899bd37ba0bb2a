"""Examines a data set before training does, and lists every fault with its cure.

    python -m experiments.doctor --data=SOURCE [--split=NAME]

Decodes every image. Exit code 0: nothing has to be left out; 1: something has; 2: there is no such data set.
"""

from typing import TYPE_CHECKING

from .command_line import Parser, main
from .reports.tables import markdown

if TYPE_CHECKING:
    from cnnvision.data.doctor import Report


def run(data: str, split: str | None = None, progress: bool = True) -> "Report":
    """The report on a data set; of all its splits, or of one."""
    from cnnvision.data import doctor

    return doctor.examine(data, (split,) if split else None, progress)


def describe(report: "Report") -> str:
    """A report as text: one line a problem, the gravest first, then tables of what there is."""
    from cnnvision.data import faults

    parts = []
    for effect in faults.EFFECTS:
        found = [problem for problem in report.problems if problem.effect == effect]
        if found:
            parts.append("\n".join([f"{effect} ({len(found)})", *(f"  {problem}" for problem in found)]))
    if report.splits:
        parts.append(_size_table(report))
    for what in ("labels", "objects", "pixels"):
        counts = {split: getattr(statistics, what) for split, statistics in report.splits.items()}
        if any(counts.values()):
            parts.append(_class_table(what, counts))
    parts += report.notes
    return "\n\n".join([*parts, f"{report.name}: {faults.by_effect(report.problems) or 'nothing to mend'}."])


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
    flags, _ = parser.parse(arguments)
    report = run(flags.data, flags.split)
    print(describe(report))
    return int(not report.healthy)


if __name__ == "__main__":
    main(command)
