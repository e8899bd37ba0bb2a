"""What the values of semantic maps mean."""

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.faults import Findings
from cnnvision.data.maps.class_tables import infer_table, read_table
from cnnvision.types import IGNORE
from tests.data.planted import encoded, two_fields, write


def declared(tmp_path, text):
    findings = Findings()
    return read_table(write(tmp_path / "classes.csv", text), findings), findings.problems


def inferred(tmp_path, *maps):
    findings = Findings()
    files = []
    for number, data in enumerate(maps):
        data = data if isinstance(data, bytes) else encoded(Image.fromarray(np.atleast_2d(data)))
        files.append((str(write(tmp_path / f"{number}.png", data)), f"masks/{number}.png"))
    table, broken = infer_table(files, "masks", findings)
    return table, findings.problems, {path.removeprefix(f"{tmp_path}/"): problem for path, problem in broken.items()}


def test_values(tmp_path):
    text = "value,name\n3,road\n0,sky\n7,road\n255,Ignore\n65535,tree\n"
    table, problems = declared(tmp_path, text)
    assert table.names == ("road", "sky", "tree") and not table.coloured and not problems
    assert table.ids == {3: 0, 0: 1, 7: 0, 255: IGNORE, 65535: 2}
    raw = np.array([[3, 0], [255, 65535]], np.uint16)
    np.testing.assert_array_equal(table.read(encoded(Image.fromarray(raw)), (2, 2), "x"), [[0, 1], [255, 2]])


def test_colours(tmp_path):
    table, problems = declared(tmp_path, "Name;Red;Green;Blue\nwall;1;2;3\nfloor;255;0;128\nignore;0;0;0\n")
    assert table.names == ("wall", "floor") and table.coloured and not problems
    assert table.ids == {0x010203: 0, 0xFF0080: 1, 0: IGNORE}
    colours = np.array([[[1, 2, 3], [255, 0, 128], [0, 0, 0]]], np.uint8)
    assert table.read(encoded(colours), (1, 3), "x").tolist() == [[0, 1, 255]]


def test_spaces_quotes_and_columns_of_one_s_own(tmp_path):
    table, problems = declared(tmp_path, '\ufeff Value , Name ,note\n\n 1 ,"a, b",x\n2, c d ,\n')
    assert table.names == ("a, b", "c d") and table.ids == {1: 0, 2: 1} and not problems


@pytest.mark.parametrize(
    ("text", "record", "words"),
    [
        ("", "", "is empty"),
        ("value,class\n1,a\n", "header", "columns are not those"),
        ("red,green,name\n1,2,a\n", "header", "columns are not those"),
        ("value,value,name\n1,2,a\n", "header", "columns are not those"),
        ("value,name\n", "", "names 0 classes"),
        ("value,name\n0,ignore\n", "", "names 0 classes"),
        ("value,name\n1.5,a\n", "row 2", "not a whole number"),
        ("value,name\n-1,a\n", "row 2", "not a whole number"),
        ("value,name\n65536,a\n", "row 2", "not a whole number"),
        ("value,name\n²,a\n", "row 2", "not a whole number"),
        ("red,green,blue,name\n1,2,256,a\n", "row 2", "not a whole number"),
        ("red,green,blue,name\n1,2,,a\n", "row 2", "not a whole number"),
        ("value,name\n1,a\n2,\n", "row 3", "no name"),
        ("value,name\n1,a\n2\n", "row 3", "no name"),
        ("value,name\n1,a,b\n", "row 2", "not 2 cells"),
        ("value,name\n1,a\n1,b\n", "row 3", "row 2 gives another name to the same value"),
        ("red,green,blue,name\n1,1,1,a\n1,1,1,b\n", "row 3", "the same colour"),
        ("value,name\n" + "".join(f"{i},c{i}\n" for i in range(256)), "", "names 256 classes, which is too many"),
        ("value,name\n1," + "x" * 200_000, "row 2", "is no CSV"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, text, record, words):
    _, problems = declared(tmp_path, text)
    refused = [p for p in problems if p.effect == "refused"]
    assert refused and refused[0].file == "classes.csv" and refused[0].record == record and refused[0].cure
    assert words in refused[0].message


def test_a_name_twice_is_fine_and_names_that_differ_in_case_are_noticed(tmp_path):
    table, problems = declared(tmp_path, "value,name\n1,a\n2,A\n1,a\n")
    assert table.names == ("a", "A") and [(p.value, p.effect) for p in problems] == [("A", "kept")]


@pytest.mark.parametrize(
    ("maps", "names", "ids", "words"),
    [
        ([[0, 255]], ("0", "255"), {0: 0, 255: 1}, "value 0 -> class '0', value 255 -> class '255'"),
        ([[0], [255]], ("0", "255"), {0: 0, 255: 1}, "value 255 -> class '255'"),
        ([[0, 0]], ("0",), {0: 0}, "value 0 -> class '0'"),
        ([[255]], ("255",), {255: 0}, "value 255 -> class '255'"),
        ([[0, 1], [255]], ("0", "1"), {0: 0, 1: 1, 255: IGNORE}, "value 1 -> class '1', value 255 -> ignore"),
        ([[7, 255]], ("7",), {7: 0, 255: IGNORE}, "value 255 -> ignore"),
        ([[9, 255, 4]], ("4", "9"), {4: 0, 9: 1, 255: IGNORE}, "value 255 -> ignore"),
        ([[3], [10]], ("3", "10"), {3: 0, 10: 1}, "value 3 -> class '3', value 10 -> class '10'"),
    ],
)
def test_inference(tmp_path, maps, names, ids, words):
    table, problems, broken = inferred(tmp_path, *(np.array(values, np.uint8) for values in maps))
    assert (table.names, table.ids, table.coloured, broken) == (names, ids, False, {})
    (problem,) = problems
    assert (problem.file, problem.effect) == ("masks", "kept") and words in problem.message
    assert problem.message.startswith("classes were inferred from the masks: value ") and "classes.csv" in problem.cure


def test_values_near_255_leave_open_what_255_is(tmp_path):
    """One pixel of 254 would turn the whole foreground of masks of 0 and 255 into what does not count."""
    table, problems, _ = inferred(tmp_path, *(np.array(values, np.uint8) for values in ([[0, 255]], [[0, 254]])))
    assert table is None and problems[-1].effect == "refused" and problems[-1].value == "254"
    assert "whether 255 is a class" in problems[-1].message and "resized" in problems[-1].cure


def test_inference_from_16_bits_1_bit_and_palettes(tmp_path):
    palette = Image.fromarray(np.array([[0, 2]], np.uint8), "L")
    palette.putpalette([9, 8, 7, 20, 30, 40, 200, 210, 220])
    table, *_ = inferred(tmp_path, np.array([0, 65535], np.uint16), np.array([[0, 1]], bool), encoded(palette))
    assert table.ids == {0: 0, 2: 1, 65535: 2, 255: IGNORE}


def test_a_hundred_values_are_classes_and_more_are_not(tmp_path):
    table, problems, _ = inferred(tmp_path, np.arange(60, dtype=np.uint8), np.arange(40, 100, dtype=np.uint8))
    assert len(table.names) == 100 and problems[0].effect == "kept"
    table, problems, _ = inferred(tmp_path, np.arange(60, dtype=np.uint8), np.arange(41, 101, dtype=np.uint8))
    assert table is None and problems[0].effect == "refused" and "more than 100 values" in problems[0].message
    assert (
        problems[0].value.startswith("0 1 2 3") and "instances:DIR" in problems[0].cure and "classes.csv" in problems[0].cure
    )


def test_colours_without_a_table_are_named(tmp_path):
    colours = np.array([[[1, 2, 3], [255, 0, 10], [1, 2, 3]]], np.uint8)
    table, problems, _ = inferred(tmp_path, two_fields(), encoded(colours))
    assert table is None and problems[0].effect == "refused"
    assert "the first are (1, 2, 3), (255, 0, 10)" in problems[0].message and "red,green,blue,name" in problems[0].cure
    table, *_ = inferred(tmp_path, encoded(np.repeat(two_fields()[:, :, None], 3, axis=2)))
    assert table.names == ("0", "255"), "three equal channels are no colours"


def test_what_cannot_be_decoded_tells_no_values(tmp_path):
    half = encoded(two_fields())[:60]
    table, problems, broken = inferred(tmp_path, two_fields(), half)
    assert table.names == ("0", "255") and set(broken) == {"1.png"} and broken["1.png"].effect == "left out"
    table, problems, broken = inferred(tmp_path, half)
    assert table is None and problems[0].effect == "refused" and "none of the masks can be decoded" in problems[0].message
