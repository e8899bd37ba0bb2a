"""`csv:DIR`: images in folders, and one CSV a split with a row for each object.

    DIR/train.csv    filename,width,height,class,xmin,ymin,xmax,ymax
    DIR/train/...    the files that it names, relative to DIR/train, DIR/images/train, DIR/images or DIR

A table whose name has the word for a split in it (train_labels.csv) is that split's; one without a header, or with other
names of the columns, is read where its form is one that tools write (csv_columns.py).
Boxes are continuous pixels: (0, 0, width, height) covers the whole image. Several rows with one filename are several
objects; a row whose class and box are all blank is an image without objects. `width` and `height` may be blank or missing;
where they are given and disagree with the image, the box was drawn on another picture and the example is left out. The
image's own label is the class that all its rows agree on. An example whose boxes are all unusable stays, without objects.
"""

import dataclasses
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, clean_name, other_size, refuse, similar_names
from cnnvision.data.files import read_csv
from cnnvision.data.sources.csv_columns import CORNERS, OPTIONAL, REQUIRED, columns_of
from cnnvision.data.sources.named_files import NotFoundError, find
from cnnvision.data.sources.records import (
    Record,
    RecordSource,
    class_cure,
    data_folder,
    measure,
    objects_of,
)
from cnnvision.data.sources.splits import resolve_split, split_word, stands_for
from cnnvision.errors import DataError, listed

OTHER_TABLES = ("classes.csv", "class_dict.csv", "split.csv")
"""Tables that list no boxes."""


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
    """Names of the splits of ``csv:DIR``: of its CSV files. Raises DataError where there are none."""
    names = _tables(data_folder("csv", folder))
    if not names:
        there = ", ".join(sorted(p.name for p in data_folder("csv", folder).iterdir())[:10]) or "nothing"
        raise DataError(f"csv:{folder}: should hold train.csv, with the columns {','.join(REQUIRED)}; there is {there}.")
    return names


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds a CSV of boxes."""
    return any(_names_boxes(root / f"{name}.csv") for name in _tables(root))


def _tables(root: pathlib.Path) -> tuple[str, ...]:
    files = sorted(p for p in root.glob("*.csv") if not p.name.startswith(".") and p.name.lower() not in OTHER_TABLES)
    return tuple(path.stem for path in files)


def _names_boxes(path: pathlib.Path) -> bool:
    findings = Findings()
    table = read_csv(path, "", findings)
    return table is not None and columns_of(table, path.name, findings) is not None


def open_csv(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``csv:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"csv:{folder}", data_folder("csv", folder), Findings()
    splits = split_names(folder)
    part = resolve_split(name, split, splits, findings)
    table = f"{part}.csv"
    rows = _without_copies(read_rows(root / table, findings), table, findings)
    refuse(name, findings.problems)
    if classes is None:
        train = stands_for("train", splits) or part
        declaring = (read_rows(root / f"{train}.csv", Findings()) if train != part else []) or rows
        classes = tuple(sorted({row.cells["class"] for row in declaring} - {""}))
        similar_names(classes, f"{train}.csv", findings)
    word = split_word(part) or part
    folders = [root / part, root / word, root / "images" / word, root / "images", root]
    folders = [folder for folder in dict.fromkeys(folders) if folder == root or folder.is_dir()]
    names = dict.fromkeys(row.filename for row in rows)
    images: dict[str, list[Row]] = {}
    for row in rows:
        if names[row.filename] is None:
            names[row.filename] = _locate(root, folders, table, row, findings) or ""
        if names[row.filename]:
            images.setdefault(names[row.filename], []).append(row)
    files = [(path, pathlib.Path(path).relative_to(root).as_posix()) for path in images]
    _report_unlisted(root, [root / part, root / word], table, {file for _, file in files}, findings)
    records = []
    for (path, file), size in zip(files, measure(files, findings), strict=True):
        if size and _same_size(images[path], size, table, findings):
            records += _record(file, path, size, images[path], classes, table, findings)
    findings.finish(table)
    return RecordSource(name, split, classes, records, findings, len(names))


def read_rows(path: pathlib.Path, findings: Findings) -> list[Row]:
    """The rows of one CSV that have as many cells as its header; what is wrong with the others goes into `findings`."""
    table = read_csv(path, ",".join(REQUIRED), findings)
    found = table and columns_of(table, path.name, findings)
    if not found:
        return []
    columns, bare = found
    rows = []
    for line, cells in [(1, table.first), *table.rows] if bare else table.rows:
        if len(cells) == len(columns):
            named = dict(zip(columns, cells, strict=True))
            rows.append(Row(line, {**named, "class": clean_name(named["class"])}))
            continue
        message = f"the row has {len(cells)} cells, the header {len(columns)}"
        cure, value = 'Put a name with a delimiter in it into "quotes".', table.delimiter.join(cells)
        findings.add(path.name, message, cure, "object left out", f"row {line}", value=value)
    return rows


def _without_copies(rows: list[Row], file: str, findings: Findings) -> list[Row]:
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = tuple(row.cells[column] for column in REQUIRED)
        if key in first:
            message = f"the row repeats row {first[key].line}, and is used once"
            findings.add(file, message, "Delete one of them.", "repaired", row.record)
        first.setdefault(key, row)
    return list(first.values())


def _locate(root: pathlib.Path, folders: list[pathlib.Path], table: str, row: Row, findings: Findings) -> str | None:
    try:
        if not row.filename:
            raise NotFoundError("the row names no file", "Fill it in.")
        what = listed(f"{f.relative_to(root).as_posix()}/" if f != root else "the data set's folder" for f in folders)
        return find(row.filename, folders, root, what, findings)
    except NotFoundError as error:
        findings.add(table, error.message, error.cure, "left out", f"row {row.line}", "filename", row.filename)
        return None


def _report_unlisted(root: pathlib.Path, own: list[pathlib.Path], table: str, listed: set[str], findings: Findings) -> None:
    for path in sorted(path for folder in dict.fromkeys(own) for path in folder.rglob("*")):
        file = path.relative_to(root).as_posix()
        if path.suffix.lower() in SUFFIXES and file not in listed and not path.name.startswith("."):
            findings.add(file, f"the image has no row in {table}", "Add a row, or delete the image.", "left out")


def _same_size(rows: list[Row], size: tuple[int, int], file: str, findings: Findings) -> bool:
    """Whether all rows of an image declare its size, or none; reports the first that does not."""
    for row in rows:
        texts = [row.cells.get(column, "") for column in OPTIONAL]
        values = [_number(text) for text in texts]
        for column, text, value, actual in zip(OPTIONAL, texts, values, (size[1], size[0]), strict=True):
            if text and value is None:
                message, cure = "the cell is not a number, and was not compared with the image", "Correct it, or blank it."
                findings.add(file, message, cure, "kept", row.record, column, text)
            elif text and value != actual:
                declared = [actual if v is None else v for v, actual in zip(values, (size[1], size[0]), strict=True)]
                findings.add(file, *other_size(*declared, size), "left out", row.record, column, text)
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
