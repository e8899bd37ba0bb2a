"""`coco:DIR`: what is wrong with annotations, images and categories."""

import json

import numpy as np
import pytest

from cnnvision.data.faults import DataSetError, EmptyDataError
from cnnvision.data.sources.coco.writer import run_lengths
from tests.data.planted import coco_annotation, coco_set, encoded, picture, write
from tests.data.sources.coco.coco_sets import JSON, opened, rectangle, told

RUNS = run_lengths(rectangle(2, 3, 4, 5))["counts"]


@pytest.mark.parametrize(
    ("fields", "field", "value", "effect", "words"),
    [
        ({"image_id": 99}, "image_id", "99", "object left out", "no image with this id"),
        ({"image_id": None}, "image_id", "None", "object left out", "no image with this id"),
        ({"image_id": [10]}, "image_id", "[10]", "object left out", "no image with this id"),
        ({"category_id": 4}, "category_id", "4", "object left out", "no category with this id"),
        ({"category_id": True}, "category_id", "True", "object left out", "no category with this id"),
        ({"bbox": [1, 2, 3]}, "bbox", "[1, 2, 3]", "object left out", "four numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "bbox", "[1, 2, 3, '4']", "repaired", "written as text"),
        ({"bbox": [1, 2, 3, "four"]}, "bbox", "[1, 2, 3, 'four']", "object left out", "four numbers"),
        ({"bbox": [1, 2, 3, 10**400]}, "bbox", None, "object left out", "four numbers"),
        ({"bbox": None}, "bbox", "None", "object left out", "four numbers"),
        ({"bbox": [1, 2, 0, 3]}, "box", "1 2 0 3", "object left out", "empty"),
        ({"bbox": [1, 2, float("nan"), 3]}, "box", "1 2 nan 3", "object left out", "not a finite number"),
        ({"bbox": [50, 2, 10, 3]}, "box", "50 2 10 3", "object left out", "outside the image of 40 x 30"),
        ({"bbox": [30, 2, 20, 3]}, "box", "30 2 20 3", "repaired", "beyond the image"),
        ({"bbox": [5, 20, 3, 15]}, "box", "5 20 3 15", "repaired", "beyond the image"),
        ({"bbox": [9, 9, -5, 3]}, "box", "9 9 -5 3", "repaired", "wrong order"),
        ({"iscrowd": 2}, "iscrowd", "2", "repaired", "neither 0 nor 1"),
        ({"area": "5"}, "area", "5", "repaired", "that of the box"),
        ({"area": -1}, "area", "-1", "repaired", "that of the box"),
        ({"area": 1e308}, "area", "1e+308", "repaired", "that of the box"),
        ({"area": float("inf")}, "area", "inf", "repaired", "that of the box"),
        ({"segmentation": "x"}, "segmentation", "", "repaired", "list of polygons, or"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "segmentation", "", "repaired", "one polygon without its list"),
        ({"segmentation": [["a"] * 6]}, "segmentation", "", "repaired", "list of polygons ["),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation", "", "repaired", "fewer than six"),
        ({"segmentation": [[]]}, "segmentation", "", "repaired", "fewer than six"),
        ({"segmentation": [[1, 2, 3, 4], [1, 1, 5, 1, 5, 5]]}, "segmentation", "", "repaired", "fewer than six"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "segmentation", "", "repaired", "odd number"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e9]]}, "segmentation", "", "repaired", "far outside"),
        ({"segmentation": [[1, 2, 3, 4, 5, -90]]}, "segmentation", "", "repaired", "far outside"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "segmentation", "", "repaired", "not finite"),
        ({"segmentation": {"counts": RUNS}}, "segmentation", "", "repaired", "its size is None"),
        (
            {"segmentation": {"size": [40, 30], "counts": RUNS}},
            "segmentation",
            "",
            "repaired",
            "of the image [30, 40]",
        ),
        ({"segmentation": {"size": [30, 40]}}, "segmentation", "", "repaired", "list of polygons, or"),
        ({"segmentation": {"size": [30, 40], "counts": [1199]}}, "segmentation", "", "repaired", "add up to 1199"),
        ({"segmentation": {"size": [30, 40], "counts": [1201, -1]}}, "segmentation", "", "repaired", "not negative"),
        (
            {"segmentation": {"size": [30, 40], "counts": [0.5, 1199.5]}},
            "segmentation",
            "",
            "repaired",
            "whole numbers",
        ),
        (
            {"segmentation": {"size": [30, 40], "counts": [float("inf")]}},
            "segmentation",
            "",
            "repaired",
            "whole numbers",
        ),
        ({"segmentation": {"size": [30, 40], "counts": ["a"]}}, "segmentation", "", "repaired", "whole numbers"),
        ({"segmentation": {"size": [30, 40], "counts": "5X"}}, "segmentation", "", "repaired", "breaks off"),
        ({"segmentation": {"size": [30, 40], "counts": "55"}}, "segmentation", "", "repaired", "add up to 10"),
    ],
)
def test_faulty_annotations(tmp_path, fields, field, value, effect, words):
    sound = coco_annotation(1, 10, 3, (0, 0, 5, 5))
    source = opened(coco_set(tmp_path, [sound, {**coco_annotation(2, 10, 7, (1, 2, 3, 4)), **fields}]))
    problem = told(source, file=JSON, record="annotation 2", field=field, effect=effect, words=words)
    assert value is None or problem.value == value
    objects = source.read(0, masks=True).objects
    assert objects.labels.tolist() == ([0] if effect == "object left out" else [0, 1])
    assert len(objects.masks) == len(objects.boxes) and len(source) == 2


def test_boxes_and_areas_after_repair(tmp_path):
    boxes = [(30, 2, 20, 3), (9, 9, -5, 3), (38, 28, 2.5, 2.5)]
    annotations = [coco_annotation(i, 10, 7, box, area="?", segmentation=[]) for i, box in enumerate(boxes)]
    source = opened(coco_set(tmp_path, annotations))
    objects = source.read(0).objects
    assert objects.boxes.tolist() == [[30, 2, 40, 5], [4, 9, 9, 12], [38, 28, 40, 30]]
    assert objects.area.tolist() == [30, 15, 4]
    assert "1 boxes reach up to one pixel beyond" in source.problems[-1].message and source.problems[-1].file == JSON


def test_annotations_that_are_none_or_come_twice(tmp_path):
    first = coco_annotation(1, 10, 7, (1, 2, 3, 4))
    other = coco_annotation(1, 10, 3, (1, 2, 3, 4))
    nameless = coco_annotation(5, 10, 9, (1, 2, 3, 4))
    del nameless["id"]
    source = opened(coco_set(tmp_path, [first, "x", first, other, nameless, None]))
    assert [(p.record, p.field, p.effect) for p in source.problems] == [
        ("annotations[1]", "", "object left out"),
        ("annotation 1", "id", "repaired"),
        ("annotation 1", "id", "kept"),
        ("annotations[4]", "category_id", "object left out"),
        ("annotations[5]", "", "object left out"),
    ]
    assert source.read(0).objects.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("image", "record", "field", "effect", "words", "count"),
    [
        ({"id": 5, "file_name": "x.png", "height": 30, "width": 40}, "image 5", "file_name", "left out", "no such file", 2),
        ({"id": 5, "file_name": "../x.png"}, "image 5", "file_name", "left out", "outside the data set's folder", 2),
        ({"id": 5, "file_name": "/etc/hostname"}, "image 5", "file_name", "left out", "outside the data set's folder", 2),
        ({"id": 5, "file_name": ""}, "image 5", "file_name", "left out", "names no file", 2),
        ({"id": 5}, "image 5", "file_name", "left out", "names no file", 2),
        ({"id": None, "file_name": "new.png"}, "images[2]", "id", "left out", "no whole number or text", 2),
        ({"file_name": "new.png"}, "images[2]", "id", "left out", "no whole number or text", 2),
        ("5.png", "images[2]", "", "left out", "no object", 2),
        ({"id": 5, "file_name": "new.png", "height": 31, "width": 40}, "image 5", "width, height", "left out", "40 x 30", 2),
        ({"id": 5, "file_name": "new.png", "height": 40, "width": 30}, "image 5", "width, height", "left out", "EXIF", 2),
        ({"id": 5, "file_name": "new.png", "height": "30", "width": 40}, "image 5", "height", "repaired", "text", 3),
        ({"id": 5, "file_name": "new.png", "height": "x", "width": 40}, "image 5", "height", "kept", "not a number", 3),
        (
            {"id": 5, "file_name": "new.png", "height": 30, "width": 10**400},
            "image 5",
            "width",
            "kept",
            "not a number",
            3,
        ),
        ({"id": 5, "file_name": "new.png", "height": 0, "width": 0}, "image 5", "height, width", "kept", "not compared", 3),
        ({"id": 10, "file_name": "new.png"}, "image 10", "id", "left out", "2 images have this id", 1),
        ({"id": 10, "file_name": "10.png"}, "image 10", "id", "repaired", "listed 2 times", 2),
        ({"id": 5, "file_name": "10.png"}, "image 5", "file_name", "left out", "belongs to image 10 already", 2),
        ({"id": 5, "file_name": "./10.png"}, "image 5", "file_name", "left out", "belongs to image 10 already", 2),
    ],
)
def test_faulty_images(tmp_path, image, record, field, effect, words, count):
    write(tmp_path / "x.png", encoded(picture(3)))
    root = tmp_path / "set"
    if isinstance(image, dict) and image.get("file_name") == "new.png":
        write(root / "train2017" / "new.png", encoded(picture(4)))
    source = opened(coco_set(root, images=[image]))
    told(source, file=JSON, record=record, field=field, effect=effect, words=words)
    assert len(source) == count


def test_annotations_of_images_that_are_left_out_go_with_them(tmp_path):
    root = coco_set(tmp_path, [coco_annotation(1, 10, 7, (1, 2, 3, 4)), coco_annotation(2, 20, 3, (1, 2, 3, 4))])
    (root / "train2017" / "10.png").rename(root / "train2017" / "10a.png")
    source = opened(root)
    gone, unlisted = source.problems
    assert "Did you mean '10a.png'?" in gone.cure and (gone.record, gone.value) == ("image 10", "10.png")
    assert unlisted.value == "train2017/10a.png"
    assert source.ids == ("train2017/20.png",) and source.read(0, masks=True).objects.labels.tolist() == [0]
    np.testing.assert_array_equal(source.read(0, masks=True).objects.masks, [rectangle(1, 2, 4, 6)])
    write(root / "train2017" / "20.png", b"")
    with pytest.raises(EmptyDataError, match=r"no usable example among 2 found:(?s:.*)0 bytes"):
        opened(root)


@pytest.mark.parametrize(("folder", "above"), [("train2017", ""), ("images/train2017", "train2017/")])
def test_images_that_are_not_listed(tmp_path, folder, above):
    root = coco_set(tmp_path)
    (root / "train2017").rename(root / "moved")
    write(root / folder / "sub" / "5.JPG", encoded(picture(5)))
    for name in ("10.png", "20.png"):
        (root / "moved" / name).rename(root / folder / name)
    write(root / folder / "sub" / "notes.txt", "not an image")
    write(root / folder / ".6.png", "hidden")
    message = f"1 of the 3 images in {folder}/ are not listed"
    value = f"{folder}/sub/5.JPG"
    told(opened(root), file=JSON, field="images", value=value, effect="left out", words=message)
    listed = {"id": 5, "file_name": f"{above}sub/5.JPG".replace("/", "\\"), "height": 30, "width": 40}
    content = json.loads((root / JSON).read_text())
    write(root / JSON, json.dumps({**content, "images": [*content["images"], listed]}))
    source = opened(root)
    assert not source.problems and len(source) == 3 and source.ids[0] == f"{folder}/sub/5.JPG"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is no JSON"),
        (b'{"images": [', "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "nested too deeply|is no JSON"),
        (b"[]", "is no data set in COCO's form"),
        (b"3", "is no data set in COCO's form"),
        (b'{"images": [], "annotations": []}', "there is no such list"),
        (b'{"images": {}, "annotations": [], "categories": []}', "is no list"),
        (b'{"images": [], "annotations": [], "categories": []}', "there are no categories"),
    ],
)
def test_faulty_json(tmp_path, text, words):
    root = coco_set(tmp_path)
    write(root / JSON, text)
    with pytest.raises(DataSetError) as caught:
        opened(root)
    problem = caught.value.problems[0]
    assert (problem.file, problem.effect) == (JSON, "refused") and any(word in problem.message for word in words.split("|"))


@pytest.mark.parametrize(
    ("category", "words"),
    [
        ("dog", "no object"),
        ({"name": "x"}, "no whole number"),
        ({"id": "one", "name": "x"}, "no whole number"),
        ({"id": 1}, "has no name"),
        ({"id": 1, "name": " "}, "has no name"),
        ({"id": 7, "name": "x"}, "belongs to 'dog' already"),
    ],
)
def test_faulty_categories(tmp_path, category, words):
    root = coco_set(tmp_path, categories=[{"id": 7, "name": "dog"}, category, {"id": 3, "name": "cat"}])
    with pytest.raises(DataSetError) as caught:
        opened(root)
    (problem,) = caught.value.problems
    assert problem.record == "categories[1]" and words in problem.message


def test_a_category_that_comes_twice(tmp_path):
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    source = opened(coco_set(tmp_path, categories=categories))
    told(source, file=JSON, record="category 7", field="id", value="7", effect="repaired", words="used once")
    assert source.classes == ("cat", "dog") and source.read(0).objects.labels.tolist() == [1, 0]


def test_categories_of_one_name_are_one_class(tmp_path):
    categories = [{"id": 0, "name": "dog"}, {"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "Cat"}]
    source = opened(coco_set(tmp_path, categories=categories))
    assert source.classes == ("dog", "cat", "Cat") and source.category_ids == (0, 3, 9)
    assert [(p.value, p.effect) for p in source.problems] == [("dog", "repaired"), ("Cat", "kept")]
    assert source.read(0).objects.labels.tolist() == [0, 1]


def test_the_json_is_not_executed_or_followed(tmp_path):
    root = coco_set(tmp_path)
    (tmp_path.parent / "secret.png").write_bytes(encoded(picture(1)))
    (root / "train2017" / "link.png").symlink_to(tmp_path.parent / "secret.png")
    content = json.loads((root / JSON).read_text())
    content["images"].append({"id": 5, "file_name": "link.png", "__class__": "os.system"})
    write(root / JSON, json.dumps(content))
    told(opened(root), record="image 5", effect="left out", words="outside the data set's folder")
