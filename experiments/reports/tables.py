"""Tables for the terminal, in Markdown, and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from cnnvision.storage import write_whole


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns; floats with four decimals."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, cells)])


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same as CSV, numbers in full."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def latex(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same as a LaTeX table (package booktabs): the first column to the left, the others to the right."""
    line = lambda row: " & ".join(_for_latex(_text(cell)) for cell in row) + r" \\"
    columns = "l" + "r" * (len(header) - 1)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(header), r"\midrule", *map(line, rows), r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}"]) + "\n"


LATEX = {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}", "…": r"\dots", "–": "--", "×": r"$\times$", "−": "$-$"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def _for_latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def write_ladder(folder: epath.Path, report: str, figures: Sequence[Mapping[str, Any]]) -> None:
    """Writes a comparison's report as ladder.md and its rows, numbers by name, as ladder.csv."""
    write_whole(folder / "ladder.md", report + "\n")
    write_whole(folder / "ladder.csv", comma_separated(tuple(figures[0]), [tuple(each.values()) for each in figures]))


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return "–" if cell != cell else f"{cell:.0f}" if cell == int(cell) and abs(cell) > 1 else f"{cell:.4f}"
    return str(cell)
