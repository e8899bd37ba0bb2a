"""Text files of unknown encoding."""

import codecs

from cnnvision.data.faults import Findings

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


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
