"""The columns of a CSV of boxes: their usual other names, and tables that have no header."""

import os
import re
from collections.abc import Sequence

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings
from cnnvision.data.files import Csv
from cnnvision.errors import nearest

CORNERS = ("xmin", "ymin", "xmax", "ymax")
REQUIRED = ("filename", "class", *CORNERS)
OPTIONAL = ("width", "height")
OTHER_NAMES = {
    "filename": ("file", "filepath", "path", "image", "imagename", "imagepath", "imagefile", "img", "imgname", "imgpath"),
    "class": ("label", "classname", "labelname", "category", "categoryname"),
    "xmin": ("x1", "left", "minx"),
    "ymin": ("y1", "top", "miny"),
    "xmax": ("x2", "right", "maxx"),
    "ymax": ("y2", "bottom", "maxy"),
    "width": ("imagewidth", "imgwidth"),
    "height": ("imageheight", "imgheight"),
}
"""Column -> what other tools call it, without marks between the words."""
BARE_FORMS = (
    ("filename", *CORNERS, "class"),
    ("filename", *OPTIONAL, "class", *CORNERS),
    ("filename", "class", *CORNERS),
)
"""Columns of tables without a header; keras-retinanet's is the first."""


def columns_of(table: Csv, file: str, findings: Findings) -> tuple[list[str], bool] | None:
    """What the columns of a table are, by our names; what is wrong goes into `findings`.

    Args:
        table: as it was read, its first row as the header.
        file: its name, for messages.

    Returns:
        The columns, and whether the first row is an object, not a header; None where the table is refused.
    """
    bare = next((form for form in BARE_FORMS if _is_row(table.first, form)), None)
    if bare:
        header = ",".join(bare)
        message = f"there is no header, and the columns are read as {header}"
        findings.add(file, message, f"Write {header} as the first line.", "kept", "row 1")
        return list(bare), True
    columns, renamed = list(table.columns), []
    for name, others in OTHER_NAMES.items():
        fitting = [i for i, column in enumerate(columns) if re.sub(r"[^a-z0-9]", "", column) in others]
        if name not in columns and len(fitting) == 1:
            renamed.append(f"{columns[fitting[0]]} as {name}")
            columns[fitting[0]] = name
    if renamed:
        cure = "There is nothing to mend where this is what they mean."
        findings.add(file, f"columns are read by other names: {', '.join(renamed)}", cure, "kept", "header")
    return (columns, False) if _has_columns(file, columns, table, findings) else None


def _is_row(cells: Sequence[str], form: Sequence[str]) -> bool:
    """Whether cells are an object of a table of these columns: a file of an image, and numbers, or blanks, for the box."""
    if len(cells) != len(form):
        return False
    row = dict(zip(form, cells, strict=True))
    return os.path.splitext(row["filename"].lower())[1] in SUFFIXES and all(
        not row.get(column) or re.fullmatch(r"[-+.\deE]+", row[column]) for column in CORNERS + OPTIONAL
    )


def _has_columns(file: str, columns: list[str], table: Csv, findings: Findings) -> bool:
    missing = [column for column in REQUIRED if column not in columns]
    header = table.delimiter.join(columns)
    for column in missing:
        known = [c for c in columns if c not in REQUIRED + OPTIONAL]
        cure = f"The header should be {','.join(REQUIRED)}, with {' and '.join(OPTIONAL)} where known."
        if known:
            cure += f" Unused columns:{nearest(column, known).replace(' Known:', '')}"
        findings.add(file, "the column is missing", cure, "refused", "header", column, header)
    doubled = [column for column in dict.fromkeys(columns) if column in REQUIRED + OPTIONAL and columns.count(column) > 1]
    for column in doubled:
        findings.add(file, "the column is there twice", "Delete one of them.", "refused", "header", column, header)
    return not missing + doubled
