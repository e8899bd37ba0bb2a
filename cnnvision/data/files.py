"""Files of a data set: their bytes, text of unknown encoding, and the CSV among it."""

import codecs
import csv
import dataclasses
import io
import pathlib

from cnnvision.data.faults import Findings, RecordError
from cnnvision.types import Problem

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

_DELIMITERS = ",;\t"


def read_bytes(path: str, file: str) -> bytes:
    """The content of a file. Args: file: its name, for errors. Raises RecordError where it is gone."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        problem = Problem(file, "", "", "", f"cannot be read: {error.strerror}", "Look for the file.", "left out")
        raise RecordError(problem) from error


def decode_text(data: bytes, file: str, findings: Findings, declared: str = "utf-8") -> str:
    """Decodes the bytes of a text file: by its byte order mark, as declared, or as Latin-1, which is reported.

    Args:
        data: the file.
        file: its name, for the report.
        declared: the encoding that the file or its format declares.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            data, declared = data[len(mark) :], encoding
            break
    try:
        return data.decode(declared)
    except (UnicodeError, LookupError):
        findings.add(
            file, f"is not {declared}, so it was read as Latin-1", "Save it as UTF-8.", "repaired", field="encoding"
        )
        return data.decode("latin-1")


@dataclasses.dataclass(frozen=True)
class Csv:
    """What a CSV holds; no cell has surrounding space.

    Attributes:
        columns: the header, in lower case.
        first: the first row as it stands, which is the header.
        rows: (number of the line in the file, from 1; cells, as many as there are) of the other rows that are not blank.
        delimiter: that the header has most of.
    """

    columns: list[str]
    first: list[str]
    rows: list[tuple[int, list[str]]]
    delimiter: str


def read_csv(path: pathlib.Path, header: str, findings: Findings) -> Csv | None:
    """Reads a CSV; None where it is empty or no CSV, for which `findings` then refuses the data set.

    Args:
        path: the file.
        header: what its header should be, for the report.
        findings: is also told of another encoding than UTF-8.
    """
    text = decode_text(path.read_bytes(), path.name, findings)
    delimiter = max(_DELIMITERS, key=text.lstrip("\r\n").split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        record = f"row {reader.line_num}"
        return findings.add(path.name, f"is no CSV: {error}", "Save it again as CSV.", "refused", record)
    if not rows:
        return findings.add(path.name, "is empty", f"Its header should be {header}.", "refused")
    return Csv([cell.casefold() for cell in rows[0][1]], rows[0][1], rows[1:], delimiter)
