"""The checks of boxes, and the errors that carry problems."""

import math
import pickle

import pytest

from cnnvision.data.faults import DataSetError, EmptyDataError, Findings, RecordError, refuse, refuse_empty, similar_names
from cnnvision.types import Problem

SIZE = (30, 40)  # height, width
PROBLEM = Problem("a.csv", "row 3", "box", "1 2", "is wrong", "Mend it.", "left out")


@pytest.mark.parametrize(
    ("corners", "expected", "effect", "words"),
    [
        ((1, 2, 20, 25), (1, 2, 20, 25), None, ""),
        ((0, 0, 40, 30), (0, 0, 40, 30), None, ""),
        ((0.25, 0.5, 0.75, 1), (0.25, 0.5, 0.75, 1), None, ""),
        ((5, 5, 5, 9), None, "object left out", "empty"),
        ((5, 5, 5.0000000001, 9), None, "object left out", "empty"),
        ((1, 2, 1e300, 25), None, "object left out", "not a finite number"),
        ((5, 5, 9, 5), None, "object left out", "empty"),
        ((20, 2, 1, 25), (1, 2, 20, 25), "repaired", "wrong order"),
        ((1, 25, 20, 2), (1, 2, 20, 25), "repaired", "wrong order"),
        ((50, 2, 60, 25), None, "object left out", "outside the image of 40 x 30"),
        ((40, 2, 60, 25), None, "object left out", "outside"),
        ((-9, -9, -1, -1), None, "object left out", "outside"),
        ((30, 20, 45, 35), (30, 20, 40, 30), "repaired", "clipped"),
        ((-5, 2, 20, 25), (0, 2, 20, 25), "repaired", "clipped"),
        ((1, 2, 41.25, 25), (1, 2, 40, 25), "repaired", "clipped"),
        ((math.nan, 2, 20, 25), None, "object left out", "not a finite number"),
        ((1, 2, math.inf, 25), None, "object left out", "not a finite number"),
    ],
)
def test_boxes(corners, expected, effect, words):
    findings = Findings()
    assert findings.box(corners, SIZE, "a.csv", "row 3") == expected
    if effect is None:
        assert not findings.problems
    else:
        (problem,) = findings.problems
        assert (problem.file, problem.record, problem.field, problem.effect) == ("a.csv", "row 3", "box", effect)
        assert words in problem.message and problem.cure
        assert problem.value == " ".join(f"{c:g}" for c in corners)


def test_a_box_in_the_wrong_order_and_beyond_the_image_is_two_faults():
    findings = Findings()
    assert findings.box((60, 2, 1, 25), SIZE, "a", "1") == (1, 2, 40, 25)
    assert ["wrong order" in p.message for p in findings.problems] == [True, False]


def test_rounding_beyond_the_image_is_counted_in_one_line():
    findings = Findings()
    assert findings.box((-1, 0, 40.5, 31), SIZE, "a", "1") == (0, 0, 40, 30)
    assert findings.box((3, 4, 41, 30), SIZE, "b", "1") == (3, 4, 40, 30)
    assert not findings.problems
    findings.finish("train.csv")
    findings.finish("train.csv")
    (problem,) = findings.problems
    assert problem.message.startswith("2 boxes") and "the first in a" in problem.message and problem.effect == "repaired"


def test_class_names_that_look_alike():
    findings = Findings()
    similar_names(["Cat", "bus", "cat", "traffic light", "traffic Light", "dog"], "train", findings)
    assert [(p.value, p.field, p.effect) for p in findings.problems] == [
        ("cat", "class", "kept"),
        ("traffic Light", "class", "kept"),
    ]
    assert "'Cat'" in findings.problems[0].message and "Merge" in findings.problems[0].cure


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(RecordError(PROBLEM)))
    assert error.problem == PROBLEM and str(error) == str(PROBLEM)
    error = pickle.loads(pickle.dumps(DataSetError("no good", [PROBLEM])))
    assert error.problems == (PROBLEM,) and str(error) == "no good"


def test_refusal_lists_the_first_and_counts_the_rest():
    refuse("csv:d", [PROBLEM] * 3)
    problems = [Problem("t.csv", f"row {i}", "", "", "no", "Mend.", "refused") for i in range(8)]
    with pytest.raises(DataSetError, match="row 4") as caught:
        refuse("csv:d", [PROBLEM, *problems])
    assert "csv:d cannot be used" in str(caught.value) and "and 3 more" in str(caught.value)
    assert "row 5" not in str(caught.value) and len(caught.value.problems) == 9


def test_an_empty_data_set_says_what_became_of_its_records():
    refuse_empty("csv:d", "val", 5, 1, [])
    missing = Problem("t.csv", "row 9", "filename", "x", "is missing", "Add it.", "left out")
    with pytest.raises(EmptyDataError) as caught:
        refuse_empty("csv:d", "val", 5, 0, [PROBLEM, missing, missing])
    lines = str(caught.value).split("\n")
    assert lines[0] == "csv:d, split val: no usable example among 5 found:"
    assert lines[1].startswith("  2 x left out, for example t.csv, row 9, filename: is missing")
    assert lines[2].startswith("  1 x left out, for example a.csv, row 3, box: is wrong")
