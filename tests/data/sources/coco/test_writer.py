"""COCO's layout on disk."""

import json

import numpy as np
import pytest
from PIL import Image

from cnnvision.data import shapes
from cnnvision.data.decode import decode_image
from cnnvision.data.sources import open_source
from cnnvision.data.sources.coco.writer import run_lengths, unique_names, write_coco
from cnnvision.errors import DataError
from tests.data.planted import add_to_voc, csv_set, encoded, exif, folder_set, picture, voc_object, voc_set, voc_xml, write


def mask_of(rle):
    """The slow way back: down the columns, zeros first."""
    flat = []
    for i, count in enumerate(rle["counts"]):
        flat += [i % 2 == 1] * count
    height, width = rle["size"]
    return np.array(flat, bool).reshape(width, height).T


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1, 1], [0, 0, 1]], [2, 1, 1, 2]),  # columns: 00 10 11
        ([[1], [0]], [0, 1, 1]),
    ],
)
def test_run_lengths_by_hand(mask, counts):
    rle = run_lengths(np.array(mask, bool))
    assert rle == {"size": list(np.shape(mask)), "counts": counts}


def test_run_lengths_of_random_masks():
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random(rng.integers(1, 9, 2)) < rng.random()
        rle = run_lengths(mask)
        np.testing.assert_array_equal(mask_of(rle), mask)
        assert min(rle["counts"][1:], default=1) > 0 and sum(rle["counts"]) == mask.size


def test_names_are_kept_and_made_unique():
    assert unique_names(["train/a.jpg", "train/b.jpg"]) == ["a.jpg", "b.jpg"]
    assert unique_names(["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"]) == ["cat_1.jpg", "dog_1.jpg", "2.jpg"]
    names = unique_names(["x/A.jpg", "y/a.jpg", "x_A.jpg", "X/a.jpg"])
    assert len({name.casefold() for name in names}) == 4 and names[2] == "x_A.jpg"


def written(root, output, **options):
    sources = [open_source(f"{root[0]}:{root[1]}", split) for split in ("train", "val")]
    return write_coco(sources, output, progress=False, **options)


def annotations(output, split):
    return json.loads((output / "annotations" / f"instances_{split}.json").read_text())


def test_a_voc_set(tmp_path):
    root = voc_set(tmp_path / "voc")
    add_to_voc(root, "none", voc_xml("none", ""), encoded(picture(7)))
    result = written(("voc", root), tmp_path / "coco")
    assert [(w.split, w.images, w.objects) for w in result] == [("train", 3, 4), ("val", 1, 2)]
    content = annotations(tmp_path / "coco", "train")
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "cat"), (2, "dog")]
    assert content["images"][0] == {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    first, second = content["annotations"][:2]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [0.0, 0.0, 10.0, 20.0],
        "area": 200.0,
        "iscrowd": 0,
        "segmentation": [],
    }
    assert (second["bbox"], second["iscrowd"], second["category_id"]) == ([4.0, 5.0, 36.0, 25.0], 1, 1)
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3, 4] and {a["image_id"] for a in content["annotations"]} == {
        1,
        2,
    }
    assert (tmp_path / "coco" / "train" / "a.png").read_bytes() == (root / "JPEGImages" / "a.png").read_bytes()
    assert sorted(p.name for p in (tmp_path / "coco").iterdir()) == ["annotations", "train", "val"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["coco", "voc"]


def test_masks_of_shapes(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(shapes, "SPLITS", {"train": 4, "val": 2})
    source = open_source("shapes", "train")
    write_coco([source], tmp_path / "coco", progress=False)
    content = annotations(tmp_path / "coco", "train")
    assert [image["file_name"] for image in content["images"]] == [f"train_{i:05d}.png" for i in range(4)]
    for index, image in enumerate(content["images"]):
        example = source.read(index, masks=True)
        found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        for annotation, mask, box in zip(found, example.objects.masks, example.objects.boxes, strict=True):
            np.testing.assert_array_equal(mask_of(annotation["segmentation"]), mask)
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == box.tolist() and annotation["area"] == mask.sum()
        data = (tmp_path / "coco" / "train" / image["file_name"]).read_bytes()
        np.testing.assert_array_equal(decode_image(data, "x"), example.image)


def test_what_others_would_see_differently_is_written_as_png(tmp_path):
    root = csv_set(tmp_path / "csv", ["turned.jpg,30,40,cat,1,2,3,4", "print.jpg,40,30,cat,1,2,3,4"])
    write(root / "train" / "turned.jpg", encoded(picture(5), "JPEG", exif=exif(6)))
    write(root / "train" / "print.jpg", encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG"))
    written(("csv", root), tmp_path / "coco")
    names = [image["file_name"] for image in annotations(tmp_path / "coco", "train")["images"]]
    assert names == ["0.png", "1.png", "2.png", "turned.png", "print.png"]
    source = open_source(f"csv:{root}", "train")
    for index, name in enumerate(names):
        with Image.open(tmp_path / "coco" / "train" / name) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), source.read(index).image)


def test_images_that_do_not_decode_are_left_out(tmp_path):
    root = csv_set(tmp_path / "csv")
    data = (root / "train" / "cat" / "1.png").read_bytes()
    (root / "train" / "cat" / "1.png").write_bytes(data[: len(data) // 2])
    train, _ = written(("csv", root), tmp_path / "coco")
    assert (train.images, train.objects) == (2, 2) and train.left_out[0].file == "train/cat/1.png"
    assert [image["id"] for image in annotations(tmp_path / "coco", "train")["images"]] == [1, 2]
    assert sorted(p.name for p in (tmp_path / "coco" / "train").iterdir()) == ["0.png", "2.png"]


def test_the_suffix_of_splits(tmp_path):
    written(("csv", csv_set(tmp_path / "csv")), tmp_path / "coco", suffix="2017")
    assert len(annotations(tmp_path / "coco", "val2017")["images"]) == 1 and (tmp_path / "coco" / "train2017").is_dir()


def test_what_is_there_stays_as_it_is(tmp_path, monkeypatch):
    root = csv_set(tmp_path / "csv")
    write(tmp_path / "full" / "precious.txt", "x")
    for output in (tmp_path / "full", tmp_path / "full" / "precious.txt", tmp_path / "full" / "precious.txt" / "below"):
        with pytest.raises(DataError, match=r"exists already|cannot be written"):
            written(("csv", root), output)
    with pytest.raises(DataError, match="has no boxes"):
        written(("folder", folder_set(tmp_path / "folder")), tmp_path / "coco")
    (tmp_path / "coco").mkdir()

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("cnnvision.data.sources.coco.writer.unique_names", fail)
        written(("csv", root), tmp_path / "coco")
    assert not list((tmp_path / "coco").iterdir()) and not list(tmp_path.glob(".coco*"))
    written(("csv", root), tmp_path / "coco")
    assert len(list((tmp_path / "coco" / "train").iterdir())) == 3


def test_boxes_come_out_as_they_went_in(tmp_path):
    root = voc_set(tmp_path / "voc")
    add_to_voc(root, "x", voc_xml("x", voc_object("dog", (3.25, 4.5, 20.75, 25))), encoded(picture(9)))
    written(("voc", root), tmp_path / "coco")
    box = annotations(tmp_path / "coco", "train")["annotations"][-1]["bbox"]
    assert box == [2.25, 3.5, 18.5, 21.5]
