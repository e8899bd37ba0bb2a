"""`csv:DIR`: images in folders, and one CSV a split with a row for each object.

    DIR/train.csv    filename,width,height,class,xmin,ymin,xmax,ymax
    DIR/train/...    the files that it names, relative to DIR/train or to DIR

Boxes are continuous pixels: (0, 0, width, height) covers the whole image. Several rows with one filename are several
objects; a row whose class and box are all blank is an image without objects. `width` and `height` may be blank or missing;
where they are given and disagree with the image, the box was drawn on another picture and the example is left out. The
image's own label is the class that all its rows agree on. An example whose boxes are all unusable stays, without objects.
"""

import dataclasses
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, other_size, refuse, similar_names
from cnnvision.data.files import read_csv
from cnnvision.data.sources.records import (
    Record,
    RecordSource,
    class_cure,
    data_folder,
    locate,
    measure,
    near_file,
    objects_of,
    resolve_split,
)
from cnnvision.errors import nearest

CORNERS = ("xmin", "ymin", "xmax", "ymax")
REQUIRED = ("filename", "class", *CORNERS)
OPTIONAL = ("width", "height")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row. Attributes: line: number in the file, from 1; cells: column -> text without surrounding space."""

    line: int
    cells: dict[str, str]

    @property
    def filename(self) -> str:
        return self.cells["filename"]

    @property
    def record(self) -> str:
        return f"row {self.line} ({self.filename})"


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``csv:DIR``: of its CSV files."""
    return tuple(sorted(p.stem for p in data_folder("csv", folder).glob("*.csv") if not p.name.startswith(".")))


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds a CSV."""
    return any(root.glob("*.csv"))


def open_csv(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``csv:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"csv:{folder}", data_folder("csv", folder), Findings()
    splits = split_names(folder)
    part = resolve_split(name, split, splits, findings)
    table = f"{part}.csv"
    rows = _without_copies(read_rows(root / table, findings), table, findings)
    refuse(name, findings.problems)
    if classes is None:
        elsewhere = part != "train" and "train" in splits
        declaring = (read_rows(root / "train.csv", Findings()) if elsewhere else []) or rows
        classes = tuple(sorted({row.cells["class"] for row in declaring} - {""}))
        similar_names(classes, "train.csv" if "train" in splits else table, findings)
    names = dict.fromkeys(row.filename for row in rows)
    images: dict[str, list[Row]] = {}
    for row in rows:
        if names[row.filename] is None:
            names[row.filename] = _locate(root, part, row, findings) or ""
        if names[row.filename]:
            images.setdefault(names[row.filename], []).append(row)
    files = [(path, pathlib.Path(path).relative_to(root).as_posix()) for path in images]
    _report_unlisted(root, part, {file for _, file in files}, findings)
    records = []
    for (path, file), size in zip(files, measure(files, findings), strict=True):
        if size and _same_size(images[path], size, table, findings):
            records += _record(file, path, size, images[path], classes, table, findings)
    findings.finish(table)
    return RecordSource(name, split, classes, records, findings, len(names))


def read_rows(path: pathlib.Path, findings: Findings) -> list[Row]:
    """The rows of one CSV that have as many cells as its header; what is wrong with the others goes into `findings`."""
    table = read_csv(path, ",".join(REQUIRED), findings)
    if not table or not _has_columns(path.name, table.columns, findings):
        return []
    rows = []
    for line, cells in table.rows:
        if len(cells) == len(table.columns):
            rows.append(Row(line, dict(zip(table.columns, cells, strict=True))))
            continue
        message = f"the row has {len(cells)} cells, the header {len(table.columns)}"
        cure, value = 'Put a name with a delimiter in it into "quotes".', table.delimiter.join(cells)
        findings.add(path.name, message, cure, "object left out", f"row {line}", value=value)
    return rows


def _has_columns(file: str, columns: list[str], findings: Findings) -> bool:
    missing = [column for column in REQUIRED if column not in columns]
    for column in missing:
        known = [c for c in columns if c not in REQUIRED + OPTIONAL]
        cure = f"The header should be {','.join(REQUIRED)}, with {' and '.join(OPTIONAL)} where known."
        if known:
            cure += f" Unused columns:{nearest(column, known).replace(' Known:', '')}"
        findings.add(file, "the column is missing", cure, "refused", "header", column, ",".join(columns))
    doubled = [column for column in dict.fromkeys(columns) if column in REQUIRED + OPTIONAL and columns.count(column) > 1]
    for column in doubled:
        cure = "Delete one of them."
        findings.add(file, "the column is there twice", cure, "refused", "header", column, ",".join(columns))
    return not missing + doubled


def _without_copies(rows: list[Row], file: str, findings: Findings) -> list[Row]:
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = tuple(row.cells[column] for column in REQUIRED)
        if key in first:
            message = f"the row repeats row {first[key].line}, and is used once"
            findings.add(file, message, "Delete one of them.", "repaired", row.record)
        first.setdefault(key, row)
    return list(first.values())


def _locate(root: pathlib.Path, part: str, row: Row, findings: Findings) -> str | None:
    def add(message: str, cure: str) -> None:
        findings.add(f"{part}.csv", message, cure, "left out", f"row {row.line}", "filename", row.filename)

    if not row.filename:
        return add("the row names no file", "Fill it in.")
    try:
        path = locate(row.filename, (root / part, root))
    except ValueError:
        return add("the file lies outside the data set's folder, and is not opened", "Name files within it.")
    if path is None:
        hint = near_file(row.filename, root / part, findings) or near_file(row.filename, root, findings)
        add(f"there is no such file; looked in {part}/ and in the data set's folder", f"Add it, or delete the row.{hint}")
    return path


def _report_unlisted(root: pathlib.Path, part: str, listed: set[str], findings: Findings) -> None:
    for path in sorted((root / part).rglob("*")):
        file = path.relative_to(root).as_posix()
        if path.suffix.lower() in SUFFIXES and file not in listed and not path.name.startswith("."):
            findings.add(file, f"the image has no row in {part}.csv", "Add a row, or delete the image.", "left out")


def _same_size(rows: list[Row], size: tuple[int, int], file: str, findings: Findings) -> bool:
    """Whether all rows of an image declare its size, or none; reports the first that does not."""
    for row in rows:
        texts = [row.cells.get(column, "") for column in OPTIONAL]
        values = [_number(text) for text in texts]
        for column, text, value, actual in zip(OPTIONAL, texts, values, (size[1], size[0]), strict=True):
            if text and value != actual:
                message = "the cell is not a number" if value is None else other_size(*values, size)
                cure = "Correct the row; or blank width and height, where its box is right."
                findings.add(file, message, cure, "left out", row.record, column, text)
                return False
    return True


def _record(
    file: str, path: str, size: tuple[int, int], rows: list[Row], classes: tuple[str, ...], table: str, findings: Findings
) -> list[Record]:
    """The record of one image; none where no row has a class that is known."""
    boxes, labels, unknown = [], [], 0
    for row in rows:
        text = row.cells["class"]
        if not any(row.cells[column] for column in ("class", *CORNERS)):
            continue
        if text not in classes:
            findings.add(
                table,
                "the row names no class" if not text else "the class is not among those of training",
                class_cure(text, classes),
                "object left out",
                row.record,
                "class",
                text,
            )
            unknown += 1
            continue
        box = _box(row, size, table, findings)
        if box:
            boxes.append(box)
            labels.append(classes.index(text))
    if unknown == len(rows):
        cure = "Correct the class of at least one row."
        findings.add(file, f"none of its {len(rows)} rows names a known class", cure, "left out", field="class")
        return []
    names = {row.cells["class"] for row in rows}
    label = classes.index(next(iter(names))) if len(names) == 1 and names <= set(classes) else None
    return [Record(file, path, size, label, objects_of(boxes, labels, [False] * len(boxes)))]


def _box(row: Row, size: tuple[int, int], file: str, findings: Findings) -> tuple[float, ...] | None:
    corners = []
    for column in CORNERS:
        value = _number(row.cells[column])
        if value is None:
            cure = "Write a number, with a decimal point."
            text = row.cells[column]
            findings.add(file, "the cell is not a number", cure, "object left out", row.record, column, text)
            return None
        corners.append(value)
    return findings.box(corners, size, file, row.record)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
