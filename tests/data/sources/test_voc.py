"""`voc:DIR`: Pascal VOC's layout, and its XML."""

import os

import numpy as np
import pytest

from cnnvision.data.faults import EmptyDataError
from cnnvision.data.sources import open_source
from cnnvision.data.sources.voc import split_names
from cnnvision.data.sources.voc_xml import read_annotation
from cnnvision.errors import DataError
from tests.data.planted import add_to_voc, encoded, picture, voc_object, voc_set, voc_xml, write


def opened(root, split="train", classes=None):
    return open_source(f"voc:{root}", split, classes)


def planted(tmp_path, xml, image=None, stem="x"):
    """The source, and the problems, of a sound set to which one record is added."""
    add_to_voc(voc_set(tmp_path), stem, xml, encoded(picture(9)) if image is None else image)
    source = opened(tmp_path)
    return source, source.problems


def only(problems):
    (problem,) = problems
    assert problem.message and problem.cure
    return problem


def test_a_sound_set(tmp_path):
    source = opened(voc_set(tmp_path))
    assert (
        source.classes == ("cat", "dog") and source.ids == ("JPEGImages/a.png", "JPEGImages/b.png") and not source.problems
    )
    example = source.read(1)
    np.testing.assert_array_equal(example.image, picture(1))
    # VOC's (1, 1, 10, 20) are the first 10 columns and 20 rows; (5, 6, 40, 30) ends with the image of 40 x 30.
    assert example.objects.boxes.tolist() == [[0, 0, 10, 20], [4, 5, 40, 30]]
    assert example.objects.labels.tolist() == [1, 0] and example.objects.crowd.tolist() == [False, True]
    assert example.objects.area.tolist() == [200, 36 * 25] and example.label is None
    assert len(opened(tmp_path, "val")) == 1


def test_a_corner_at_zero_shows_that_the_folder_counts_from_zero(tmp_path):
    add_to_voc(voc_set(tmp_path), "x", voc_xml("x", voc_object("dog", (0, 3, 10, 20))), encoded(picture(9)), "val")
    source = opened(tmp_path)  # the zero lies in val
    assert source.read(0, image=False).objects.boxes.tolist() == [[1, 1, 10, 20], [5, 6, 40, 30]]
    problem = only(source.problems)
    assert (problem.file, problem.effect, problem.value) == ("Annotations/x.xml", "kept", "0 3 10 20")
    assert "counted from 0" in problem.message


@pytest.mark.parametrize("corners", [(0, 0, 0, 0), (-3, 3, 10, 20)])
def test_empty_and_negative_corners_do_not_show_that(tmp_path, corners):
    source, problems = planted(tmp_path, voc_xml("x", voc_object("dog", corners)))
    assert source.read(0, image=False).objects.boxes.tolist()[0] == [0, 0, 10, 20]
    assert "counted" not in only(problems).message


@pytest.mark.parametrize(
    ("corners", "field", "value", "effect", "box"),
    [
        ((5, 6, 5, 9), "box", "5 6 5 9", "object left out", None),
        ((9, 6, 5, 9), "box", "9 6 5 9", "repaired", [4, 5, 9, 9]),
        ((50, 6, 60, 9), "box", "50 6 60 9", "object left out", None),
        ((5, 6, 60, 9), "box", "5 6 60 9", "repaired", [4, 5, 40, 9]),
        (("nan", 6, 60, 9), "box", "nan 6 60 9", "object left out", None),
        (("", 6, 60, 9), "bndbox/xmin", "", "object left out", None),
        ((5, "six", 60, 9), "bndbox/ymin", "six", "object left out", None),
    ],
)
def test_faulty_boxes(tmp_path, corners, field, value, effect, box):
    source, problems = planted(tmp_path, voc_xml("x", voc_object("dog", (1, 1, 2, 2)) + voc_object("cat", corners)))
    problem = only(problems)
    assert (problem.file, problem.record, problem.field) == ("Annotations/x.xml", "object 1 (cat)", field)
    assert (problem.effect, problem.value) == (effect, value)
    assert source.read(2, image=False).objects.boxes.tolist()[1:] == ([box] if box else [])


@pytest.mark.parametrize(("text", "difficult"), [("1", True), ("true", True), (" TRUE ", True), ("0", False), ("", False)])
def test_what_is_difficult(tmp_path, text, difficult):
    source, problems = planted(tmp_path, voc_xml("x", voc_object("dog", (1, 1, 9, 9), difficult=text)))
    assert source.read(2, image=False).objects.crowd.tolist() == [difficult] and not problems


def test_difficult_is_no_guess(tmp_path):
    source, problems = planted(tmp_path, voc_xml("x", voc_object("dog", (1, 1, 9, 9), difficult="yes")))
    problem = only(problems)
    assert (problem.field, problem.value, problem.effect) == ("difficult", "yes", "repaired")
    assert source.read(2, image=False).objects.crowd.tolist() == [False]


def test_objects_without_name_or_box(tmp_path):
    xml = voc_xml("x", "<object><name> </name></object><object><name>dog</name></object>" + voc_object("dog", (1, 1, 2, 2)))
    source, problems = planted(tmp_path, xml)
    assert [(p.record, p.field, p.effect) for p in problems] == [
        ("object 0", "name", "object left out"),
        ("object 1 (dog)", "bndbox/xmin", "object left out"),
    ]
    assert len(source.read(2, image=False).objects.boxes) == 1


def test_parts_of_objects_are_no_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    thing = voc_object("dog", (1, 1, 9, 9)).replace("</object>", f"{part}</object>")
    source, problems = planted(tmp_path, voc_xml("x", thing))
    assert source.read(2, image=False).objects.boxes.tolist() == [[0, 0, 9, 9]] and not problems


@pytest.mark.parametrize(
    ("width", "height", "effect", "count"),
    [(0, 0, "kept", 3), (80, 30, "left out", 2), ("wide", 30, "kept", 3), (30, 40, "left out", 2)],
)
def test_declared_sizes(tmp_path, width, height, effect, count):
    source, problems = planted(tmp_path, voc_xml("x", voc_object("dog", (1, 1, 9, 9)), width, height))
    problem = only(problems)
    assert (problem.file, problem.field, problem.effect) == ("Annotations/x.xml", "size", effect) and len(source) == count
    assert str(width) in problem.value and str(height) in problem.value


def test_no_declared_size_is_no_fault(tmp_path):
    source, problems = planted(tmp_path, f"<annotation>{voc_object('dog', (1, 1, 9, 9))}</annotation>")
    assert len(source) == 3 and not problems


def test_records_that_lack_one_half(tmp_path):
    voc_set(tmp_path)
    add_to_voc(tmp_path, "lonely", None, encoded(picture(5)))
    add_to_voc(tmp_path, "blind", voc_xml("blind", ""), None)
    add_to_voc(tmp_path, "ghost", None, None)
    write(tmp_path / "JPEGImages" / "unlisted.png", encoded(picture(6)))
    write(tmp_path / "Annotations" / "unlisted2.xml", voc_xml("unlisted2", ""))
    source = opened(tmp_path)
    assert len(source) == 2 and {(p.file, p.value, p.effect) for p in source.problems} == {
        ("JPEGImages/unlisted.png", "", "left out"),
        ("Annotations/unlisted2.xml", "", "left out"),
        ("ImageSets/Main/train.txt", "lonely", "left out"),
        ("ImageSets/Main/train.txt", "ghost", "left out"),
        ("Annotations/blind.xml", "blind.png", "left out"),
    }


def test_an_image_of_another_name_is_found_through_the_xml(tmp_path):
    write(voc_set(tmp_path) / "JPEGImages" / "other.png", encoded(picture(5)))
    add_to_voc(tmp_path, "x", voc_xml("other", ""), None)
    source = opened(tmp_path)
    assert source.ids[2] == "JPEGImages/other.png"


def test_an_image_belongs_to_one_xml(tmp_path):
    planted(tmp_path, voc_xml("a", ""))
    (tmp_path / "JPEGImages" / "x.png").unlink()
    source = opened(tmp_path)
    problem = only(source.problems)
    assert (problem.file, problem.effect) == (
        "Annotations/x.xml",
        "left out",
    ) and "belongs to Annotations/a.xml" in problem.message
    assert len(source) == 2


def test_images_of_one_name(tmp_path):
    write(voc_set(tmp_path) / "JPEGImages" / "a.bmp", encoded(picture(5), "BMP"))
    source = opened(tmp_path)
    problem = only(source.problems)
    assert (problem.file, problem.effect) == ("JPEGImages/a.png", "left out") and "the name of a.bmp" in problem.message
    assert source.ids == ("JPEGImages/a.bmp", "JPEGImages/b.png")


@pytest.mark.parametrize("name", ["../outside", "{root}/outside", "link"])
def test_a_name_that_leaves_the_folder_is_never_opened(tmp_path, name):
    outside = write(tmp_path / "outside.png", encoded(picture(8)))
    root = voc_set(tmp_path / "data")
    os.symlink(outside, root / "JPEGImages" / "link.png")
    add_to_voc(root, "x", voc_xml(name.format(root=tmp_path), ""), None)
    source = opened(root)
    problem = next(p for p in source.problems if p.field == "filename")
    assert problem.effect == "left out" and "outside" in problem.message and len(source) == 2


def test_lists(tmp_path):
    main = voc_set(tmp_path) / "ImageSets" / "Main"
    (main / "train.txt").write_text("a\n\nb.png  \r\na\n")
    (main / "cat_train.txt").write_text("a  1\nb -1\n")
    (main / "cat_val.txt").write_text("c  1\n")
    source = opened(tmp_path)
    assert len(source) == 2 and split_names(str(tmp_path)) == ("train", "val")
    problem = only(source.problems)
    assert (problem.record, problem.value, problem.effect) == ("line 4", "a", "repaired")
    (main / "train.txt").write_text("a -1\nb  1\n")
    assert len(opened(tmp_path)) == 2
    with pytest.raises(DataError, match=r"no split 'trian'\. Did you mean 'train'\? Known: train, val"):
        opened(tmp_path, "trian")


def test_a_class_that_training_does_not_know(tmp_path):
    source = opened(voc_set(tmp_path), "val", ("Dog", "cat"))
    assert source.read(0, image=False).objects.labels.tolist() == [1]
    problem = only(p for p in source.problems if p.field == "name")
    assert (problem.record, problem.value, problem.effect) == ("object 0 (dog)", "dog", "object left out")
    assert "Did you mean 'Dog'?" in problem.cure


def test_folders_of_another_kind_and_empty_ones(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"should hold JPEGImages.*but there is a"):
        opened(tmp_path)
    voc_set(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("")
    with pytest.raises(EmptyDataError, match="among 0 found"):
        opened(tmp_path)


def test_random_xml_raises_nothing():
    rng = np.random.default_rng(0)
    sound = voc_xml("x", voc_object("dog", (1, 1, 9, 9)) + voc_object("cat", (1, 1, 9, 9), 1)).encode()
    pieces = [
        b"<",
        b">",
        b"&",
        b"<object>",
        b"</name>",
        b"\0",
        b"\xff\xfe",
        b"<![CDATA[",
        b"<?xml",
        b"<!--",
        b"1e999",
        b"</",
    ]
    for length in range(len(sound)):
        annotation, findings = read_annotation(sound[:length], "x.xml")
        assert annotation is None and findings.problems
    for _ in range(400):
        cuts = [int(cut) for cut in sorted(rng.integers(0, len(sound), 4))]
        kept = [sound[a:b] for a, b in zip([0, *cuts], [*cuts, len(sound)], strict=True)]
        annotation, findings = read_annotation(b"".join(p + pieces[rng.integers(len(pieces))] for p in kept), "x.xml")
        assert annotation is not None or findings.problems


def test_real_blood_cells(shared_data):
    source = opened(shared_data / "bccd")
    assert source.classes == ("Platelets", "RBC", "WBC") and len(source) == 205
    assert [(p.record, p.effect) for p in source.problems] == [("object 3 (RBC)", "object left out")]
    whole = opened(shared_data / "bccd", "trainval")
    labels = np.concatenate([whole.read(i, image=False).objects.labels for i in range(292)])
    assert np.bincount(labels).tolist() == [292, 3348, 301], "3350 red cells, two of which are points"
