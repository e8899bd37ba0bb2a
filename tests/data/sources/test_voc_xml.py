"""XML that cannot be read, and its encodings."""

import pytest

from cnnvision.data.sources.voc_xml import read_annotation
from tests.data.sources.test_voc import only, planted

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        ("<annotation><object>", "no well-formed XML"),
        ("no xml", "no well-formed XML"),
        ("<html></html>", "its root is <html>"),
        (LAUGHS, "document type"),
        (OUTSIDE, "document type"),
        (OUTSIDE.encode("utf-16"), "document type"),
        (b'<?xml version="1.0" encoding="utf-7"?>' + OUTSIDE.encode("utf-7"), "document type"),
        ("<annotation>" * 3000, "no well-formed XML"),
        ("<annotation>&amp;&unknown;</annotation>", "no well-formed XML"),
        (b"\0\1\2", "no well-formed XML"),
    ],
)
def test_faulty_xml(tmp_path, xml, words):
    source, problems = planted(tmp_path, xml)
    problem = only(problems)
    assert (problem.file, problem.effect) == ("Annotations/x.xml", "left out") and words in problem.message
    assert len(source) == 2


@pytest.mark.parametrize(
    "data",
    [
        "<annotation><object><name>Bär</name></object></annotation>".encode(),
        '<?xml version="1.0" encoding="ISO-8859-1"?><annotation><object><name>Bär</name></object></annotation>'.encode(
            "latin-1"
        ),
        '<?xml version="1.0" encoding="utf-16"?><annotation><object><name>Bär</name></object></annotation>'.encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-8"?><annotation><object><name>Bär</name></object></annotation>'.encode(
            "utf-8-sig"
        ),
        "<annotation><object><name>Bär</name></object></annotation>".encode("latin-1"),
        '<?xml version="1.0" encoding="klingon"?><annotation><object><name>Bär</name></object></annotation>'.encode(
            "latin-1"
        ),
    ],
)
def test_encodings(data):
    annotation, findings = read_annotation(data.replace(b"</name>", b"</name><bndbox/>"), "x.xml")
    assert annotation is not None and "object 0 (Bär)" in [p.record for p in findings.problems]
