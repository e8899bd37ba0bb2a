"""What a fingerprint of training data tells apart."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.fingerprint import fingerprint_of
from cnnvision.data.order import fingerprint as of_ids
from cnnvision.data.sources import open_source
from cnnvision.data.wrappers.subset import Subset
from tests.data.planted import (
    CSV_HEADER,
    coco_annotation,
    coco_set,
    csv_set,
    encoded,
    instances_set,
    masks_set,
    three_objects,
    two_fields,
    write,
)


def fingerprint(name, split="train"):
    return fingerprint_of(open_source(name, split), name)


def test_the_fingerprint_knows_ids_classes_labels_and_boxes_but_not_the_folder(tmp_path):
    same = {fingerprint(f"csv:{csv_set(tmp_path / name)}") for name in ("one", "two")}
    assert len(same) == 1
    rows = [f"cat/{number}.png,40,30,{{}},{number},2,20,25" for number in range(3)]
    for labels in (("dog", "cat", "cat"), ("cat", "cat", "dog"), ("zoo", "zoo", "zoo")):
        text = [row.format(label) for row, label in zip(rows, labels, strict=True)]
        root = csv_set(tmp_path / labels[0])
        write(root / "train.csv", "\n".join([CSV_HEADER, *text]) + "\n")
        same.add(fingerprint(f"csv:{root}"))
    assert len(same) == 4


def test_without_maps_it_is_what_it_was(tmp_path):
    """Else no run that was begun on such data could go on."""
    source = open_source(f"csv:{csv_set(tmp_path)}", "train")
    parts = ["cat", "", ""]
    for number in range(3):
        parts += [f"train/cat/{number}.png", str((0, ([0], [[float(number), 2.0, 20.0, 25.0]])))]
    assert fingerprint_of(source, source.name) == of_ids(parts)


TABLE = "value,name\n0,wall\n255,cell\n"


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("train/mask/1.png", encoded(two_fields()[:, ::-1])),
        ("train/mask/1.png", encoded(two_fields(), compress_level=0)),
        ("classes.csv", "value,name\n255,wall\n0,cell\n"),
        ("classes.csv", "value,name\n255,cell\n0,wall\n"),
        ("classes.csv", TABLE + "9,cell\n"),
        ("classes.csv", TABLE + "9,ignore\n"),
        ("classes.csv", "red,green,blue,name\n0,0,0,wall\n0,0,255,cell\n255,255,255,cell\n"),
        ("classes.csv", None),
    ],
)
def test_masks_and_what_their_values_mean_count(tmp_path, file, data):
    root = masks_set(tmp_path / "one")
    write(root / "classes.csv", TABLE)
    shutil.copytree(root, tmp_path / "two")
    before = fingerprint(f"masks:{root}")
    assert before == fingerprint(f"masks:{tmp_path / 'two'}"), "wherever they lie, however old they are"
    write(root / "val" / "mask" / "3.png", encoded(two_fields()[:, ::-1]))
    assert before == fingerprint(f"masks:{root}"), "of other splits only the table counts"
    write(root / file, data) if data else (root / file).unlink()
    assert before != fingerprint(f"masks:{root}")


def test_a_mask_of_the_same_size_counts(tmp_path):
    root = masks_set(tmp_path)
    found = set()
    for mask in (two_fields(), two_fields()[:, ::-1]):
        (root / "train" / "mask" / "0.png").unlink(missing_ok=True)
        path = write(root / "train" / "mask" / "0.bmp", encoded(mask, "BMP"))
        found.add((path.stat().st_size, fingerprint(f"masks:{root}")))
    assert len(found) == 2 and len({size for size, _ in found}) == 1


def test_two_masks_that_were_exchanged_count(tmp_path):
    root = masks_set(tmp_path)
    found = set()
    for first, second in ((0, 1), (1, 0)):
        write(root / "train" / "mask" / f"{first}.png", encoded(two_fields()))
        write(root / "train" / "mask" / f"{second}.png", encoded(two_fields()[:, ::-1]))
        found.add(fingerprint(f"masks:{root}"))
    assert len(found) == 2


def test_an_inferred_table_counts_by_its_values(tmp_path):
    """The same masks of val, where those of train mean that 255 is a class, or ignored."""
    root = masks_set(tmp_path)
    found = {fingerprint(f"masks:{root}", "val")}
    write(root / "train" / "mask" / "0.png", encoded(two_fields(left=255)))
    assert {fingerprint(f"masks:{root}", "val")} == found, "0 and 255 still"
    write(root / "train" / "mask" / "0.png", encoded(two_fields(left=7)))
    assert fingerprint(f"masks:{root}", "val") not in found


def test_instances_count_beyond_their_boxes(tmp_path):
    root = instances_set(tmp_path)
    before = fingerprint(f"instances:{root}")
    ids = three_objects()
    ids[3, 5] = 0  # within object 7, whose box stays
    write(root / "train" / "masks" / "1.png", encoded(Image.fromarray(ids)))
    assert before != fingerprint(f"instances:{root}")


def coco(root: pathlib.Path, corners=(2, 3, 12, 3, 12, 23), labels="0: wall\n255: cell\n"):
    annotation = coco_annotation(1, 10, 7, (2, 3, 10, 20), segmentation=[list(corners)], area=100)
    coco_set(root, [annotation])
    if labels:
        write(root / "annotations" / "semantic_labels.txt", labels)
        write(root / "annotations" / "semantic_train2017" / "10.png", encoded(two_fields()))
    return root


def test_semantic_maps_of_coco_count(tmp_path):
    found = {fingerprint(f"coco:{coco(tmp_path / name)}") for name in ("one", "two")}
    assert len(found) == 1
    swapped = coco(tmp_path / "table", labels="255: wall\n0: cell\n")
    found.add(fingerprint(f"coco:{swapped}"))
    found.add(fingerprint(f"coco:{coco(tmp_path / 'objects', corners=(2, 3, 12, 23, 2, 23))}"))
    write(tmp_path / "one" / "annotations" / "semantic_train2017" / "10.png", encoded(two_fields()[::-1, ::-1]))
    found.add(fingerprint(f"coco:{tmp_path / 'one'}"))
    write(tmp_path / "two" / "annotations" / "semantic_train2017" / "20.png", encoded(two_fields()))
    found.add(fingerprint(f"coco:{tmp_path / 'two'}"))
    assert len(found) == 5


def test_a_part_has_the_maps_of_its_own_examples(tmp_path):
    root = masks_set(tmp_path)
    write(root / "train" / "mask" / "2.png", encoded(two_fields()[:, ::-1]))
    source = open_source(f"masks:{root}", "train")
    part = Subset(source, [2, 0])
    assert [part.map_digest(0), part.map_digest(1)] == [source.map_digest(2), source.map_digest(0)]
    before = fingerprint_of(part, "x")
    write(root / "train" / "mask" / "1.png", encoded(np.zeros((30, 40), np.uint8)))
    assert before == fingerprint_of(part, "x")
    write(root / "train" / "mask" / "0.png", encoded(np.zeros((30, 40), np.uint8)))
    assert before != fingerprint_of(part, "x")
