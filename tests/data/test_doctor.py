"""The doctor: every planted fault is found in one go, with file, record, field, value and cure."""

import numpy as np
import pytest
from PIL import Image

from cnnvision.data import doctor
from cnnvision.data.doctor import examine
from cnnvision.data.faults import EFFECTS
from cnnvision.data.sources import open_source
from cnnvision.errors import DataError
from cnnvision.types import COCO_AREA_RANGES, Example, Objects
from tests.data import prepared
from tests.data.planted import (
    add_to_voc,
    csv_set,
    encoded,
    exif,
    folder_set,
    found,
    half,
    picture,
    voc_object,
    voc_set,
    voc_xml,
    write,
)


@pytest.mark.parametrize("make", [csv_set, folder_set, voc_set])
def test_sound_sets_are_healthy(tmp_path, make):
    make(tmp_path)
    report = examine(f"{make.__name__.removesuffix('_set')}:{tmp_path}", progress=False)
    assert report.healthy and not report.problems and set(report.splits) == {"train", "val"}


def test_faults_of_class_folders(tmp_path):
    root = folder_set(tmp_path)
    large = picture(50, 90, 120)
    write(root / "train" / "cat" / "cut.jpg", half(encoded(large, "JPEG")))
    write(root / "train" / "cat" / "cut.png", half(encoded(large)))
    write(root / "train" / "cat" / "grey.jpg", encoded(large, "JPEG")[:-900] + b"\xff\xd9")
    write(root / "train" / "cat" / "empty.jpg", b"")
    write(root / "train" / "cat" / "text.jpg", "<html>404</html>")
    write(
        root / "train" / "cat" / "deep.png", encoded(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100))
    )
    write(root / "train" / "cat" / "print.jpg", encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG"))
    write(root / "train" / "cat" / "turned.jpg", encoded(picture(51), "JPEG", exif=exif(6)))
    write(root / "train" / "Dog" / "x.png", encoded(picture(52)))
    write(root / "val" / "bird" / "x.png", encoded(picture(53)))
    write(root / "val" / "cat" / "leak.png", encoded(picture(1)))  # train/cat/0.png, byte by byte
    write(root / "val" / "dog" / "leak.bmp", encoded(picture(2), "BMP"))  # train/cat/1.png, pixel by pixel
    write(root / "train" / "dog" / "again.png", encoded(picture(4)))  # train/dog/0.png
    (root / "train" / "emu").mkdir()
    report = examine(f"folder:{root}", progress=False)
    assert not report.healthy
    found(report, file="train/cat/cut.jpg", effect="left out", words="breaks off")
    found(report, file="train/cat/cut.png", effect="left out", words="breaks off")
    found(report, file="train/cat/grey.jpg", effect="kept", words="grey that decoders fill in")
    found(report, file="train/cat/empty.jpg", effect="left out", words="0 bytes")
    found(report, file="train/cat/text.jpg", effect="left out", words="is text")
    found(report, file="train/emu", effect="kept", words="no image")
    found(report, file="train", field="class", value="dog", effect="kept", words="upper and lower case")
    found(report, file="val/bird", field="class", value="bird", effect="left out")
    found(report, file="val/cat/leak.png", effect="kept", words="also in train, as train/cat/0.png")
    found(report, file="val/dog/leak.bmp", effect="kept", words="as train/cat/1.png with another class")
    found(report, file="train/dog/again.png", effect="kept", words="the same as train/dog/0.png")
    assert len(report.problems) == 11
    assert [p.effect for p in report.problems] == sorted((p.effect for p in report.problems), key=EFFECTS.index)
    statistics = report.splits["train"]
    assert statistics.examples == 3 + 3 + 1 + 1 + 4 and statistics.labels == {"Dog": 1, "cat": 7, "dog": 4, "emu": 0}
    assert statistics.heights == (20, 30, 90) and statistics.widths == (30, 40, 120)
    assert "train: no example of emu." in report.notes


def test_special_pictures_are_read_right(tmp_path):
    root = folder_set(tmp_path)
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    write(root / "train" / "cat" / "deep.png", encoded(Image.fromarray(deep)))
    write(root / "train" / "cat" / "print.jpg", encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG"))
    write(root / "train" / "cat" / "turned.png", encoded(picture(51), exif=exif(6)))
    source = open_source(f"folder:{root}", "train")
    image = {
        name: source.read(source.ids.index(f"train/cat/{name}")).image for name in ("deep.png", "print.jpg", "turned.png")
    }
    np.testing.assert_array_equal(image["deep.png"][:, :, 0], deep >> 8)
    assert np.abs(image["print.jpg"].astype(int) - [255, 0, 0]).max() <= 3
    np.testing.assert_array_equal(image["turned.png"], np.rot90(picture(51), -1))


def test_faults_of_tables(tmp_path):
    rows = [
        "cat/gone.png,40,30,cat,1,2,3,4",
        "../outside.png,40,30,cat,1,2,3,4",
        "cat/0.png,40,30,cat,5,5,5,9",
        "cat/0.png,40,30,cat,9,5,6,9",
        "cat/0.png,40,30,cat,50,5,60,9",
        "cat/0.png,40,30,cat,30,5,60,9",
        "cat/0.png,40,30,cat,nan,5,6,9",
        "cat/0.png,40,30,cat,five,5,6,9",
        "cat/1.png,40,30,cat,1,2,20,25",
        "B\xe4r.png,40,30,CAT,1,2,3,4",
    ]
    root = csv_set(tmp_path / "data", rows)
    write(tmp_path / "outside.png", encoded(picture(9)))
    write(root / "train" / "B\xe4r.png", encoded(picture(8)))
    (root / "train.csv").write_bytes((root / "train.csv").read_text().encode("latin-1"))
    (root / "val.csv").write_bytes(b"\xef\xbb\xbf" + (root / "val.csv").read_bytes() + b"cat/0.png,40,30,kat,1,2,3,4\n")
    report = examine(f"csv:{root}", progress=False)
    found(report, file="train.csv", field="encoding", effect="repaired", words="Latin-1")
    found(report, record="row 5", field="filename", value="cat/gone.png", effect="left out", words="no such file")
    found(report, record="row 6", field="filename", value="../outside.png", effect="left out", words="outside")
    found(report, record="row 7 (cat/0.png)", field="box", value="5 5 5 9", effect="object left out", words="empty")
    found(report, record="row 8 (cat/0.png)", field="box", value="9 5 6 9", effect="repaired", words="wrong order")
    found(report, record="row 9 (cat/0.png)", field="box", value="50 5 60 9", effect="object left out", words="outside")
    found(report, record="row 10 (cat/0.png)", field="box", value="30 5 60 9", effect="repaired", words="clipped")
    found(report, record="row 11 (cat/0.png)", field="box", value="nan 5 6 9", effect="object left out", words="finite")
    found(report, record="row 12 (cat/0.png)", field="xmin", value="five", effect="object left out", words="not a number")
    found(report, record="row 13 (cat/1.png)", effect="repaired", words="repeats row 3")
    found(report, file="train.csv", field="class", value="cat", effect="kept", words="upper and lower case")
    found(report, file="val.csv", field="class", value="kat", effect="object left out", words="not among those of training")
    assert len(report.problems) == 12 and not report.healthy
    statistics = report.splits["train"]
    assert (statistics.examples, statistics.objects) == (4, {"CAT": 1, "cat": 5})
    assert statistics.areas == {"small": 6, "medium": 0, "large": 0}


def test_faults_of_voc(tmp_path):
    root = voc_set(tmp_path)
    thing = voc_object("dog", (1, 1, 9, 9))
    add_to_voc(root, "bad", "<annotation><object>", encoded(picture(4)))
    add_to_voc(root, "lonely", None, encoded(picture(5)))
    add_to_voc(root, "blind", voc_xml("blind", thing), None)
    add_to_voc(root, "zero", voc_xml("zero", thing, 0, 0), encoded(picture(6)))
    add_to_voc(root, "other", voc_xml("other", thing, 80, 60), encoded(picture(7)))
    add_to_voc(root, "c", voc_xml("c", thing), encoded(picture(2)))  # which val has as well
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\nc\n")
    report = examine(f"voc:{root}", progress=False)
    found(report, file="Annotations/bad.xml", effect="left out", words="no well-formed XML")
    found(report, value="lonely", effect="left out", words="has no XML")
    found(report, file="Annotations/blind.xml", field="filename", effect="left out", words="no image")
    found(report, file="Annotations/zero.xml", field="size", value="width 0, height 0", effect="kept")
    found(report, file="Annotations/other.xml", field="size", value="80 x 60", effect="left out")
    found(report, file="JPEGImages/c.png", record="split val", effect="kept", words="also in train")
    assert len(report.problems) == 6, "trainval is made of both, which is no fault"


def test_a_split_that_cannot_be_opened_does_not_hide_the_others(tmp_path):
    root = csv_set(tmp_path)
    (root / "train.csv").write_text((root / "train.csv").read_text().replace("xmin", "x"))
    write(root / "val" / "cat" / "0.png", half(encoded(picture(3))))
    report = examine(f"csv:{root}", progress=False)
    found(report, file="train.csv", record="header", field="xmin", effect="refused", words="column is missing")
    found(report, file=f"csv:{root}", record="split train", effect="refused", words="cannot be used")
    found(report, file="val/cat/0.png", effect="left out", words="breaks off")
    assert report.splits["val"].examples == 0 and "train" not in report.splits


def test_an_empty_data_set(tmp_path, few_shapes):
    root = csv_set(tmp_path)
    for path in root.rglob("*.png"):
        path.unlink()
    report = examine(f"csv:{root}", progress=False)
    found(report, record="split train", effect="refused", words="no usable example among 3 found")
    found(report, record="split val", effect="refused", words="no usable example among 1 found")
    (root / "train.csv").unlink()
    (root / "val.csv").unlink()
    with pytest.raises(DataError, match=r"should hold train\.csv, with the columns filename,.*; there is train, val"):
        examine(f"csv:{root}", progress=False)
    (problem,) = examine("shapes", ("foo",), progress=False).problems
    assert str(problem).endswith("Known: train, val; refused.")
    with pytest.raises(DataError, match="no folder"):
        examine(f"csv:{root}/nowhere")


def test_prepared_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    prepared.oxford_iiit_pet(tmp_path, np.full((29, 40), 2, np.uint8))
    prepared.coco(tmp_path, [(0.1, 0.2, 0.5, 0.7), (0.5, 0.5, 0.5, 0.9)])
    report = examine("tfds:oxford_iiit_pet", progress=False)
    found(
        report, record="test/000001", field="semantic", value="40 x 29", effect="left out", words="not as large as its image"
    )
    assert report.splits["train"].pixels == {"pet": 225, "background": 960, "border": 15, "(ignore)": 0}
    report = examine("tfds:coco", progress=False)
    found(report, record="train/000000, object 1", field="box", effect="object left out", words="empty")
    assert report.splits["train"].without_objects == 1 and report.splits["train"].crowd == 0
    assert "train: images without a usable object: 1." in report.notes
    for name in ("tfds:voc", "tfds:no_such_thing"):
        with pytest.raises(DataError, match=r"not prepared|no data set"):
            examine(name)


class WithMaps:
    """A source of one image whose map is a row short."""

    name, split, classes, semantic_classes = "maps:x", "train", (), ("a", "b")
    area_ranges, problems, ids = COCO_AREA_RANGES, (), ("x",)

    def __len__(self):
        return 1

    def read(self, index, image=True, masks=False):
        return Example("x", (30, 40), picture(0), semantic=np.zeros((29, 40), np.uint8))


def test_maps_of_any_source_are_compared_with_their_images(monkeypatch):
    monkeypatch.setattr(doctor, "open_source", lambda name, split: WithMaps())
    report = examine("maps:x", ("train",), progress=False)
    found(report, file="x", field="semantic", value="40 x 29", effect="left out")


@pytest.mark.parametrize(("with_masks", "copies"), [(False, ["object 2", "object 4"]), (True, ["object 2"])])
def test_objects_that_are_there_twice(monkeypatch, with_masks, copies):
    """The same box of another class, or with another mask, is another object."""

    class Copies(WithMaps):
        def read(self, index, image=True, masks=False):
            boxes = np.array([[1, 1, 5, 5], [2, 2, 9, 9], [1, 1, 5, 5], [2, 2, 9, 9], [1, 1, 5, 5]], np.float32)
            drawn = np.zeros((5, 30, 40), bool)
            drawn[np.arange(5), 1, [1, 2, 1, 2, 3]] = True
            labels, areas = np.array([0, 0, 0, 1, 0], np.int32), np.full(5, 16, np.float32)
            objects = Objects(boxes, labels, np.zeros(5, bool), areas, drawn if with_masks else None)
            return Example("x", (30, 40), picture(0), objects=objects)

    Copies.classes = ("a", "b")
    monkeypatch.setattr(doctor, "open_source", lambda name, split: Copies())
    problems = [p for p in examine("copies:x", ("train",), progress=False).problems if "class and box" in p.message]
    assert [p.record for p in problems] == copies
    assert all((p.effect, p.value, p.field) == ("kept", "1 1 5 5", "box") and "object 0" in p.message for p in problems)


def test_real_data(shared_data):
    report = examine(f"voc:{shared_data / 'bccd'}", ("val",), progress=False)
    assert [p.record for p in report.problems] == ["object 12 (RBC)"] and report.splits["val"].examples == 87
