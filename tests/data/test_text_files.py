"""Text of unknown encoding."""

import pytest

from cnnvision.data.faults import Findings
from cnnvision.data.text_files import decode_text


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
