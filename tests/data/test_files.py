"""Text of unknown encoding, and CSV."""

import pytest

from cnnvision.data.faults import Findings, RecordError
from cnnvision.data.files import decode_text, read_bytes, read_csv
from tests.data.planted import write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_silently(encoding):
    findings = Findings()
    assert decode_text("Bär,ß".encode(encoding), "x", findings) == "Bär,ß"
    assert not findings.problems


def test_latin_1_is_read_and_reported():
    findings = Findings()
    assert decode_text("Bär".encode("latin-1"), "x.csv", findings) == "Bär"
    (problem,) = findings.problems
    assert (problem.file, problem.field, problem.effect) == ("x.csv", "encoding", "repaired") and "UTF-8" in problem.cure


@pytest.mark.parametrize("declared", ["no-such", "rot13", "hex", "utf-16"])
def test_a_declaration_that_does_not_hold_is_reported(declared):
    findings = Findings()
    assert decode_text(b"abc", "x.xml", findings, declared) == "abc"
    assert len(findings.problems) == 1 and declared in findings.problems[0].message


def read(tmp_path, text):
    findings = Findings()
    return read_csv(write(tmp_path / "x.csv", text), "a,b", findings), findings.problems


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_has_the_delimiter_of_its_header(tmp_path, delimiter):
    text = f'\n Name {delimiter}B\n\n 1 {delimiter}"x{delimiter}\ny"\n{delimiter}\n2\n3{delimiter}ä{delimiter}5\n'
    table, problems = read(tmp_path, text)
    assert table.columns == ["name", "b"] and table.delimiter == delimiter and not problems
    assert table.rows == [(5, ["1", f"x{delimiter}\ny"]), (7, ["2"]), (8, ["3", "ä", "5"])], "any count of cells; no blanks"


@pytest.mark.parametrize(
    ("text", "record", "words", "cure"),
    [
        ("", "", "is empty", "Its header should be a,b."),
        ("\n , \n", "", "is empty", "Its header should be a,b."),
        ("a,b\n1,2\n1," + "x" * 200_000, "row 3", "is no CSV: field larger", "Save it again as CSV."),
    ],
)
def test_what_is_no_csv_is_refused_once(tmp_path, text, record, words, cure):
    table, (problem,) = read(tmp_path, text)
    assert table is None and (problem.file, problem.record, problem.effect) == ("x.csv", record, "refused")
    assert words in problem.message and problem.cure == cure


def test_a_file_that_is_gone_is_a_fault_of_its_record(tmp_path):
    with pytest.raises(RecordError, match=r"train/a\.png: cannot be read: No such file"):
        read_bytes(str(tmp_path / "a.png"), "train/a.png")
