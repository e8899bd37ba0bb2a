"""What training refuses or leaves out, the doctor has said: planted faults in every source, opened by both."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.doctor import examine
from cnnvision.data.opening import open_beside
from cnnvision.data.sources import open_source
from cnnvision.data.wrappers.subset import learnable
from cnnvision.errors import DataError
from tests.data.planted import coco_set, csv_set, encoded, folder_set, instances_set, masks_set, picture, voc_set

HARM = ("refused", "left out", "object left out")
IMAGES = {
    "folder": (folder_set, "train/cat/0.png", "val/cat/0.png"),
    "csv": (csv_set, "train/cat/0.png", "val/cat/0.png"),
    "voc": (voc_set, "JPEGImages/a.png", "JPEGImages/c.png"),
    "masks": (masks_set, "train/image/0.png", "val/image/3.png"),
    "instances": (instances_set, "train/images/0.png", "val/images/2.png"),
    "coco": (coco_set, "train2017/10.png", "val2017/30.png"),
}


def stack(path):
    pages = [Image.fromarray(picture(seed)) for seed in range(3)]
    pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:])


def dead_link(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere.png")


FILE_FAULTS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>404</html>"),
    "stack": stack,
    "missing": lambda path: path.unlink(),
    "dead link": dead_link,
    "heic": lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40)),
    "turned": lambda path: path.write_bytes(encoded(picture(1, 40, 30))),
}


def train_opens(name):
    """(problems that cost something, what refuses the data set or "") of opening a data set as a run does."""
    problems = []
    try:
        train = open_source(name, "train")
        problems += train.problems
        problems += open_beside(name, "val", train.classes, train.semantic_classes).problems
        if not train.semantic_classes and not learnable(train, "class")[0]:
            raise DataError("nothing is left to train on")
    except DataError as error:
        return [*problems, *getattr(error, "problems", ())], str(error)
    return problems, ""


def check(name, harmful=True):
    problems, refused = train_opens(name)
    told = [p for p in problems if p.effect in HARM]
    report = examine(name, progress=False)
    said = {(p.file, p.record, p.field, p.value, p.message) for p in report.problems}
    missing = [p for p in told if (p.file, p.record, p.field, p.value, p.message) not in said]
    assert not missing, "training leaves out what the doctor did not say"
    assert not refused or any(p.effect == "refused" for p in report.problems), refused
    assert all(p.cure for p in told)
    assert report.healthy == (not harmful) == (not told and not refused)


@pytest.mark.parametrize("kind", IMAGES)
def test_sound_sets(tmp_path, kind):
    IMAGES[kind][0](tmp_path)
    check(f"{kind}:{tmp_path}", harmful=False)


@pytest.mark.parametrize("fault", FILE_FAULTS)
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("split", ["train", "val"])
def test_faults_of_image_files(tmp_path, kind, fault, split):
    make, train, val = IMAGES[kind]
    make(tmp_path)
    FILE_FAULTS[fault](tmp_path / (train if split == "train" else val))
    unseen = kind == "folder" and fault in ("missing", "turned")  # nothing declares the file, or its size
    check(f"{kind}:{tmp_path}", harmful=not unseen)


def edit_coco(root, split, edit):
    path = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def boxes(*box, **fields):
    def edit(content):
        for annotation in content["annotations"]:
            annotation.update(bbox=list(box), segmentation=[], **fields)

    return edit


COCO_FAULTS = {
    "fractions": boxes(0.1, 0.2, 0.5, 0.3),
    "outside": boxes(500, 500, 5, 5),
    "empty box": boxes(5, 5, 0, 5),
    "no number": boxes("a", 1, 2, 3),
    "crowd alone": boxes(1, 2, 5, 5, iscrowd=1),
    "no image": lambda content: content["annotations"][0].update(image_id=77),
    "no category": lambda content: content["annotations"][0].update(category_id=77),
    "other names": lambda content: [c.update(name=f"{c['name']} x") for c in content["categories"]],
    "other size": lambda content: content["images"][0].update(width=80),
    "absolute": lambda content: content["images"][0].update(file_name="/data/10.png"),
    "upwards": lambda content: content["images"][0].update(file_name="..\\10.png"),
    "no lists": lambda content: content.pop("images"),
}


@pytest.mark.parametrize("fault", COCO_FAULTS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_faults_of_coco(tmp_path, split, fault):
    coco_set(tmp_path)
    edit_coco(tmp_path, split, COCO_FAULTS[fault])
    check(f"coco:{tmp_path}", harmful=(split, fault) != ("val", "crowd alone"))


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


TEXT_FAULTS = [
    ("csv", "{split}.csv", ",40,30,", ",80,30,"),
    ("csv", "{split}.csv", "cat/0.png", "/data/cat/0.png"),
    ("csv", "{split}.csv", ",cat,", ",,"),
    ("csv", "{split}.csv", ",2,20,25", ",x,20,25"),
    ("csv", "{split}.csv", "xmin", "left edge"),
    ("voc", "Annotations/{stem}.xml", "<width>40", "<width>80"),
    ("voc", "Annotations/{stem}.xml", "<xmax>10", "<xmax>ten"),
    ("voc", "Annotations/{stem}.xml", "</annotation>", ""),
    ("voc", "Annotations/{stem}.xml", "<ymax>20", "<ymax>1"),
    ("voc", "ImageSets/Main/{split}.txt", "{stem}", "nobody"),
]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("kind", "file", "old", "new"), TEXT_FAULTS)
def test_faults_of_tables_and_xml(tmp_path, split, kind, file, old, new):
    IMAGES[kind][0](tmp_path)
    place = {"split": split, "stem": "a" if split == "train" else "c"}
    replace(tmp_path / file.format(**place), old.format(**place), new)
    check(f"{kind}:{tmp_path}")


@pytest.mark.parametrize("kind", IMAGES)
def test_a_train_split_alone_has_nothing_to_evaluate_on(tmp_path, kind):
    """It is all trained on: whoever means that says so (eval_split=train)."""
    IMAGES[kind][0](tmp_path)
    if kind == "voc":
        (tmp_path / "ImageSets/Main/val.txt").unlink()
    elif kind == "coco":
        (tmp_path / "annotations/instances_val2017.json").unlink()
    elif kind == "csv":
        (tmp_path / "val.csv").unlink()
    else:
        os.rename(tmp_path / "val", tmp_path / ".val")
    assert train_opens(f"{kind}:{tmp_path}")[1]
    check(f"{kind}:{tmp_path}")


@pytest.mark.parametrize("side", ["alpha", "flat"])
def test_maps_of_which_one_class_is_left(tmp_path, side):
    masks_set(tmp_path)
    for path in tmp_path.glob("*/mask/*.png"):
        pixels = np.zeros((30, 40, 4), np.uint8)
        pixels[:, :, 3] = 255
        if side == "alpha":
            pixels[5:20, 5:20, 3] = 0
        path.write_bytes(encoded(pixels))
    check(f"masks:{tmp_path}")
