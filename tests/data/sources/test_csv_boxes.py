"""`csv:DIR`: images and a CSV of boxes."""

import numpy as np
import pytest

from cnnvision.data.faults import DataSetError, EmptyDataError
from cnnvision.data.sources import open_source
from cnnvision.data.sources.csv_boxes import split_names
from cnnvision.errors import DataError
from tests.data.planted import CSV_HEADER, csv_set, encoded, exif, picture, write


def opened(root, split="train", classes=None):
    return open_source(f"csv:{root}", split, classes)


def planted(tmp_path, *rows):
    """The source, and the problems, of a sound set to which rows of train.csv are appended."""
    source = opened(csv_set(tmp_path, rows))
    return source, source.problems


def only(problems):
    (problem,) = problems
    assert problem.message and problem.cure
    return problem


def test_a_sound_set(tmp_path):
    source, problems = planted(tmp_path)
    assert not problems and source.classes == ("cat",) and split_names(str(tmp_path)) == ("train", "val")
    assert source.ids == ("train/cat/0.png", "train/cat/1.png", "train/cat/2.png")
    example = source.read(1)
    np.testing.assert_array_equal(example.image, picture(1))
    np.testing.assert_array_equal(example.objects.boxes, np.array([[1, 2, 20, 25]], np.float32))
    assert example.objects.boxes.dtype == np.float32 and example.objects.labels.dtype == np.int32
    assert example.objects.area.tolist() == [19 * 23] and example.objects.crowd.tolist() == [False]
    assert example.label == 0 and example.objects.masks is None


def test_rows_of_one_file_are_objects_of_one_image(tmp_path):
    source, problems = planted(tmp_path, "cat/0.png,40,30,dog,5,6,7,8", "cat/1.png,40,30,cat,9,9,12,12")
    assert not problems and len(source) == 3 and source.classes == ("cat", "dog")
    first, second = source.read(0, image=False), source.read(1, image=False)
    assert first.objects.boxes.tolist() == [[0, 2, 20, 25], [5, 6, 7, 8]] and first.objects.labels.tolist() == [0, 1]
    assert first.label is None, "its rows disagree"
    assert second.label == 0 and len(second.objects.boxes) == 2


def test_files_may_be_named_relative_to_the_folder_of_the_csv(tmp_path):
    write(tmp_path / "pictures" / "x.png", encoded(picture(7)))
    source, problems = planted(tmp_path, "pictures/x.png,40,30,cat,1,2,3,4", r"cat\0.png,,,cat,9,9,12,12")
    assert not problems and "pictures/x.png" in source.ids and len(source.read(0, image=False).objects.boxes) == 2


def test_a_row_of_blanks_is_an_image_without_objects(tmp_path):
    write(tmp_path / "train" / "nothing.png", encoded(picture(7)))
    source, problems = planted(tmp_path, "nothing.png,40,30,,,,,")
    example = source.read(source.ids.index("train/nothing.png"), image=False)
    assert not problems and example.label is None and example.objects.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "field", "value", "effect"),
    [
        ("5,6,5,9", "box", "5 6 5 9", "object left out"),
        ("50,6,60,9", "box", "50 6 60 9", "object left out"),
        ("nan,6,60,9", "box", "nan 6 60 9", "object left out"),
        ("1e999,6,60,9", "box", "inf 6 60 9", "object left out"),
        ("a,6,60,9", "xmin", "a", "object left out"),
        ("1,6,,9", "xmax", "", "object left out"),
        ('1,6,"7,5",9', "xmax", "7,5", "object left out"),
        ("9,6,5,20", "box", "9 6 5 20", "repaired"),
        ("5,6,45,20", "box", "5 6 45 20", "repaired"),
    ],
)
def test_faulty_boxes(tmp_path, box, field, value, effect):
    source, problems = planted(tmp_path, f"cat/2.png,40,30,cat,{box}")
    problem = only(problems)
    assert (problem.file, problem.record) == ("train.csv", "row 5 (cat/2.png)")
    assert (problem.field, problem.value, problem.effect) == (field, value, effect)
    assert len(source.read(2, image=False).objects.boxes) == (2 if effect == "repaired" else 1)


def test_an_image_whose_only_box_is_unusable_stays_with_its_class(tmp_path):
    write(tmp_path / "train" / "x.png", encoded(picture(7)))
    source, problems = planted(tmp_path, "x.png,40,30,cat,5,6,5,9")
    only(problems)
    example = source.read(source.ids.index("train/x.png"), image=False)
    assert example.label == 0 and example.objects.boxes.shape == (0, 4) and example.objects.labels.shape == (0,)


def test_rounding_beyond_the_image_is_one_line(tmp_path):
    source, problems = planted(tmp_path, "cat/0.png,40,30,cat,-1,6,41,9", "cat/1.png,40,30,cat,0,6,40.5,9")
    assert only(problems).message.startswith("2 boxes reach up to one pixel beyond")
    assert source.read(0, image=False).objects.boxes[1].tolist() == [0, 6, 40, 9]


def test_a_repeated_row_is_used_once(tmp_path):
    source, problems = planted(tmp_path, "cat/0.png,40,30,cat,0,2,20,25")
    problem = only(problems)
    assert problem.record == "row 5 (cat/0.png)" and "repeats row 2" in problem.message and problem.effect == "repaired"
    assert len(source.read(0, image=False).objects.boxes) == 1


@pytest.mark.parametrize(
    ("size", "field", "value"), [("80,30", "width", "80"), ("40,60", "height", "60"), (",60", "height", "60")]
)
def test_a_declared_size_unlike_the_image(tmp_path, size, field, value):
    write(tmp_path / "train" / "x.png", encoded(picture(7)))
    source, problems = planted(tmp_path, f"x.png,{size},cat,5,6,7,9")
    problem = only(problems)
    assert (problem.record, problem.field, problem.value, problem.effect) == ("row 5 (x.png)", field, value, "left out")
    assert len(source) == 3


def test_a_declared_size_that_is_no_number_is_not_compared(tmp_path):
    write(tmp_path / "train" / "x.png", encoded(picture(7)))
    source, problems = planted(tmp_path, "x.png,x,30,cat,5,6,7,9")
    problem = only(problems)
    assert (problem.record, problem.field, problem.value, problem.effect) == ("row 5 (x.png)", "width", "x", "kept")
    assert len(source) == 4


def test_missing_empty_and_wrong_files(tmp_path):
    write(tmp_path / "train" / "empty.png", b"")
    write(tmp_path / "train" / "text.png", "not found")
    source, problems = planted(tmp_path, *(f"{name}.png,40,30,cat,5,6,7,9" for name in ("cat/22", "empty", "text")))
    assert len(source) == 3 and [p.effect for p in problems] == ["left out"] * 3
    missing, empty, text = problems
    assert (missing.file, missing.record, missing.field) == ("train.csv", "row 5 (cat/22.png)".split(" (")[0], "filename")
    assert missing.value == "cat/22.png" and "looked in train/" in missing.message
    assert "Did you mean 'cat/2.png'?" in missing.cure
    assert (empty.file, text.file) == ("train/empty.png", "train/text.png")
    assert "0 bytes" in empty.message and "text" in text.message


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        (lambda text: b"\xef\xbb\xbf" + text.encode(), None),
        (lambda text: text.encode("utf-16"), None),
        (lambda text: text.encode("latin-1"), "repaired"),
        (lambda text: text.replace(",", ";").encode(), None),
        (lambda text: text.replace(",", "\t").encode(), None),
        (lambda text: text.replace("\n", "\r\n").encode(), None),
        (lambda text: text.replace("\n", "\n\n").encode(), None),
        (lambda text: text.replace(",", " , ").replace("filename", "FileName").encode(), None),
        (lambda text: text.replace("cat/0.png", '"cat/0.png"').encode(), None),
    ],
)
def test_ways_to_write_a_csv(tmp_path, change, effect):
    write(csv_set(tmp_path) / "train" / "bär.png", encoded(picture(7)))
    text = (tmp_path / "train.csv").read_text() + "bär.png,40,30,Bär,1,2,3,4\n"
    (tmp_path / "train.csv").write_bytes(change(text))
    source = opened(tmp_path)
    assert source.classes == ("Bär", "cat") and len(source) == 4 and "train/bär.png" in source.ids
    assert [p.effect for p in source.problems] == ([effect] if effect else [])


def test_a_missing_column_refuses_the_data_set(tmp_path):
    csv_set(tmp_path)
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("xmin", "xmni").replace("class", "klass"))
    with pytest.raises(DataSetError, match="cannot be used until") as caught:
        opened(tmp_path)
    problems = {p.field: p for p in caught.value.problems}
    assert set(problems) == {"xmin", "class"} and all(p.effect == "refused" for p in problems.values())
    assert problems["xmin"].value == "filename,width,height,klass,xmni,ymin,xmax,ymax"
    assert "Did you mean 'xmni'?" in problems["xmin"].cure


def test_a_column_that_is_there_twice_refuses_the_data_set(tmp_path):
    csv_set(tmp_path)
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("width,", "class,", 1))
    with pytest.raises(DataSetError, match="header, class: the column is there twice"):
        opened(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_csv(tmp_path, content):
    (csv_set(tmp_path) / "train.csv").write_text(content)
    with pytest.raises(DataSetError, match=r"train\.csv: is empty.*filename,class,xmin"):
        opened(tmp_path)


def test_a_csv_with_a_header_alone_is_an_empty_data_set(tmp_path):
    (csv_set(tmp_path) / "train.csv").write_text(CSV_HEADER)
    with pytest.raises(EmptyDataError, match="among 0 found"):
        opened(tmp_path)


def test_rows_of_another_length(tmp_path):
    source, problems = planted(tmp_path, "a,b.png,40,30,cat,1,2,3,4", "cat/0.png,40")
    assert [(p.record, p.effect) for p in problems] == [("row 5", "object left out"), ("row 6", "object left out")]
    assert "9 cells, the header 8" in problems[0].message and problems[0].value.startswith("a,b.png")
    assert len(source) == 3


def test_an_image_without_a_row(tmp_path):
    write(tmp_path / "train" / "cat" / "extra.png", encoded(picture(8)))
    problem = only(planted(tmp_path)[1])
    assert (problem.file, problem.effect) == ("train/cat/extra.png", "left out") and "no row in train.csv" in problem.message


def test_a_class_that_training_does_not_know(tmp_path):
    csv_set(tmp_path)
    for name in ("x", "y"):
        write(tmp_path / "val" / f"{name}.png", encoded(picture(9)))
    rows = ["x.png,40,30,Cat,1,2,3,4", "y.png,40,30,dgo,1,2,3,4", "y.png,40,30,cat,5,6,7,8"]
    with open(tmp_path / "val.csv", "a") as table:
        table.write("\n".join(rows))
    source = opened(tmp_path, "val")
    assert source.classes == ("cat",) and source.ids == ("val/cat/0.png", "val/y.png")
    example = source.read(1, image=False)
    assert example.objects.boxes.tolist() == [[5, 6, 7, 8]] and example.label is None
    assert [(p.record or p.file, p.value, p.effect) for p in source.problems] == [
        ("row 3 (x.png)", "Cat", "object left out"),
        ("val/x.png", "", "left out"),
        ("row 4 (y.png)", "dgo", "object left out"),
    ]
    assert "Did you mean 'cat'?" in source.problems[0].cure


def test_class_names_that_differ_in_case(tmp_path):
    source, problems = planted(tmp_path, "cat/0.png,40,30,CAT,1,2,3,4")
    assert source.classes == ("CAT", "cat") and only(problems).effect == "kept" and "Merge" in problems[0].cure


def test_labels_follow_the_class_list_that_is_given(tmp_path):
    example = opened(csv_set(tmp_path), classes=("dog", "cat")).read(0, image=False)
    assert example.label == 1 and example.objects.labels.tolist() == [1]


def test_random_tables_raise_data_errors_only(tmp_path):
    rng = np.random.default_rng(0)
    csv_set(tmp_path)
    sound = (tmp_path / "train.csv").read_bytes()
    pieces = [
        b",",
        b"\n",
        b'"',
        b"\0",
        b"nan",
        b"-1e400",
        b"\xff",
        b"\xef\xbb\xbf",
        b"cat/0.png",
        b"'",
        b";",
        b"../",
        b"\r",
        b"",
    ]
    for trial in range(150):
        if trial % 3 == 0:
            data = sound[: rng.integers(len(sound))]
        else:
            cuts = [int(cut) for cut in sorted(rng.integers(0, len(sound), 6))]
            kept = [sound[a:b] for a, b in zip([0, *cuts], [*cuts, len(sound)], strict=True)]
            data = b"".join(part + pieces[rng.integers(len(pieces))] for part in kept)
        (tmp_path / "train.csv").write_bytes(data)
        try:
            source = opened(tmp_path)
        except DataError:
            continue
        for index in range(len(source)):
            objects = source.read(index, image=False).objects
            assert np.isfinite(objects.boxes).all() and (objects.boxes[:, 2:] > objects.boxes[:, :2]).all()


def test_a_cell_of_enormous_length(tmp_path):
    with pytest.raises(DataSetError, match="is no CSV: field larger"):
        planted(tmp_path, "x" * 200_000 + ",40,30,cat,1,2,3,4")


def test_real_boxes(shared_data):
    source = opened(shared_data / "caltech3")
    assert source.classes == ("airplane", "face", "motorcycle") and len(source) == 1371
    problem = only(source.problems)
    assert problem.record == "row 73 (airplane/image_0118.jpg)" and problem.effect == "object left out"
    labels = [source.read(i, image=False).label for i in range(len(source))]
    assert np.bincount(labels).tolist() == [544, 285, 542]
    assert len(opened(shared_data / "caltech3", "val")) == 252


def test_a_file_of_two_names_is_one_image(tmp_path):
    source, problems = planted(tmp_path, "./cat/0.png,40,30,cat,5,6,7,8", "train/cat/0.png,40,30,cat,9,9,12,12")
    assert len(source) == len(set(source.ids)) == 3 and not problems
    assert source.read(0, image=False).objects.boxes.tolist() == [[0, 2, 20, 25], [5, 6, 7, 8], [9, 9, 12, 12]]


def test_a_size_from_before_exif_is_called_so(tmp_path):
    write(tmp_path / "train" / "x.jpg", encoded(picture(7), "JPEG", exif=exif(6)))
    problem = only(planted(tmp_path, "x.jpg,40,30,cat,5,6,7,9")[1])
    assert "before its EXIF orientation was applied" in problem.message and "has 30 x 40 pixels" in problem.message
