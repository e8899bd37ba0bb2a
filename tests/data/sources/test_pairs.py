"""Folders of images and of masks side by side."""

import pytest

from cnnvision.data.sources import open_source, split_names
from cnnvision.errors import DataError
from tests.data.planted import encoded, masks_set, picture, two_fields, write


def pair(root, image, mask, seed=0):
    write(root / image, encoded(picture(seed)))
    write(root / mask, encoded(two_fields()))


def ids(root, split="train", kind="masks"):
    return open_source(f"{kind}:{root}", split).ids


def problems(root, split="train"):
    """Those of opening a split, without the inferred table, and how train was divided."""
    said = ("inferred", "images are train")
    return [p for p in open_source(f"masks:{root}", split).problems if not any(words in p.message for words in said)]


@pytest.mark.parametrize(
    ("images", "masks"),
    [("image", "mask"), ("images", "labels"), ("img", "annotations"), ("imgs", "label"), ("Images", "Masks")],
)
@pytest.mark.parametrize("form", ["{split}/{side}", "{side}/{split}"])
def test_names_of_folders(tmp_path, images, masks, form):
    for split in ("train", "val", "test"):
        image, mask = (form.format(split=split, side=side) for side in (images, masks))
        pair(tmp_path, f"{image}/a.png", f"{mask}/a.png")
    assert ids(tmp_path) == (form.format(split="train", side=images) + "/a.png",) and not problems(tmp_path)
    assert split_names(f"masks:{tmp_path}") == ("train", "val", "test")


def test_names_of_files(tmp_path):
    pair(tmp_path, "train/image/a.jpg", "train/mask/a.png")
    pair(tmp_path, "train/image/deep/er/b.png", "train/mask/deep/er/b.tif")
    pair(tmp_path, "train/image/c.png", "train/mask/c_mask.gif")
    pair(tmp_path, "train/image/d.png", "train/mask/d_label.png")
    pair(tmp_path, "train/image/e_mask.png", "train/mask/e_mask.png")
    write(tmp_path / "train" / "image" / "Thumbs.db", "x")
    write(tmp_path / "train" / "mask" / ".hidden.png", "x")
    source = open_source(f"masks:{tmp_path}", "train")
    assert source.ids == tuple(f"train/image/{file}" for file in ("a.jpg", "c.png", "d.png", "deep/er/b.png", "e_mask.png"))
    assert [record.map.removeprefix(f"{tmp_path}/train/mask/") for record in source.records] == [
        "a.png",
        "c_mask.gif",
        "d_label.png",
        "deep/er/b.tif",
        "e_mask.png",
    ]
    assert not problems(tmp_path)


def test_the_nearest_name_is_the_partner(tmp_path):
    pair(tmp_path, "train/image/a.png", "train/mask/a.png")
    pair(tmp_path, "train/image/b.png", "train/mask/a_mask.png")
    pair(tmp_path, "train/image/b_mask.png", "train/mask/b_mask.png")
    source = open_source(f"masks:{tmp_path}", "train")
    assert [record.map.rsplit("/", 1)[1] for record in source.records] == ["a.png", "b_mask.png"]
    assert source.ids == ("train/image/a.png", "train/image/b_mask.png")
    assert [(p.file, p.effect, p.message) for p in problems(tmp_path)] == [
        ("train/image/b.png", "left out", "the image has no mask"),
        ("train/mask/a_mask.png", "left out", "the mask has no image"),
    ]


def test_files_without_partner_and_doubled_ones(tmp_path):
    root = masks_set(tmp_path)
    write(root / "train" / "image" / "sample-1.png", encoded(picture(7)))
    write(root / "train" / "mask" / "sample_1.png", encoded(two_fields()))
    write(root / "train" / "image" / "0.jpg", encoded(picture(8), "JPEG"))
    write(root / "train" / "mask" / "notes.txt", "x")
    found = {p.file: p for p in problems(root)}
    assert set(found) == {
        f"train/{file}" for file in ("image/sample-1.png", "mask/sample_1.png", "image/0.png", "mask/notes.txt")
    }
    assert all(p.effect == "left out" and p.cure for p in found.values())
    assert "Add train/mask/sample-1.png" in found["train/image/sample-1.png"].cure
    assert "Did you mean 'sample_1.png'?" in found["train/image/sample-1.png"].cure
    assert "train/image/0.jpg, which is used" in found["train/image/0.png"].message
    assert "suffix" in found["train/mask/notes.txt"].message
    assert ids(root) == ("train/image/0.jpg", "train/image/1.png", "train/image/2.png")


def test_without_split_folders_the_pairs_are_divided_as_class_folders_are(tmp_path):
    for number in range(40):
        pair(tmp_path, f"images/{number}.png", f"masks/{number}.png", number)
    train, val = ids(tmp_path), ids(tmp_path, "val")
    assert set(train) | set(val) == {f"images/{number}.png" for number in range(40)} and len(train) == 32
    said = open_source(f"masks:{tmp_path}", "val").problems[0]
    assert said.effect == "kept" and "no splits train and val, so 32 images are train and 8 val" in said.message
    assert split_names(f"masks:{tmp_path}") == ("train", "val")
    write(tmp_path / "images" / "alone.png", encoded(picture(99)))
    parts = [[p.file for p in problems(tmp_path, split)] for split in ("train", "val")]
    assert parts == [["images/alone.png"]] * 2


def test_a_folder_that_is_not_read_is_named(tmp_path):
    root = masks_set(tmp_path)
    write(root / "train" / "labels" / "0.xml", "x")
    (problem,) = problems(root)
    assert (problem.file, problem.effect) == ("train/labels", "kept") and "mask is" in problem.message


def test_other_names_of_splits(tmp_path):
    root = masks_set(tmp_path)
    (root / "val").rename(root / "validation")
    write(root / "test" / "image" / "x.png", encoded(picture(1)))  # no masks: nothing to learn from
    assert split_names(f"masks:{root}") == ("train", "validation")
    assert "'validation' is used for it" in problems(root, "val")[0].message
    with pytest.raises(DataError, match=r"no split 'tset'"):
        open_source(f"masks:{root}", "tset")


@pytest.mark.parametrize("kind", ["masks", "instances"])
def test_folders_of_another_kind(tmp_path, kind):
    write(tmp_path / "train" / "cat" / "a.png", encoded(picture(0)))
    with pytest.raises(DataError, match=rf"{kind}:.*should hold SPLIT/images and SPLIT/masks.*there is train"):
        open_source(f"{kind}:{tmp_path}", "train")
    with pytest.raises(DataError, match=r"should hold SPLIT/images"):
        split_names(f"{kind}:{tmp_path}")
    with pytest.raises(DataError, match="no folder 'nowhere'"):
        open_source(f"{kind}:{tmp_path}/nowhere", "train")


def test_faults_that_headers_tell(tmp_path):
    root = masks_set(tmp_path)
    for name, image, mask in [
        ("size", picture(11), encoded(two_fields(29))),
        ("turned", picture(12, 40, 30), encoded(two_fields())),
        ("jpeg", picture(13), encoded(two_fields(), "JPEG")),
        ("float", picture(14), encoded(two_fields().astype("float32"), "TIFF")),
        ("long", picture(15), encoded(two_fields().astype("int32"), "TIFF")),
        ("empty", picture(16), b""),
        ("text", picture(17), b"<html>404</html>"),
    ]:
        write(root / "train" / "image" / f"{name}.png", encoded(image))
        write(root / "train" / "mask" / f"{name}.png", mask)
    pair(root, "train/image/broken.png", "train/mask/broken.png")
    write(root / "train" / "image" / "broken.png", b"no image")
    found = {p.file: p for p in problems(root)}
    for file, words, value in [
        ("mask/size.png", "not as large as its image of 40 x 30", "40 x 29"),
        ("mask/turned.png", "not as large as its image of 30 x 40", "40 x 30"),
        ("mask/jpeg.png", "is a JPEG, which changes ids", ""),
        ("mask/float.png", "pixels of mode F", ""),
        ("mask/long.png", "pixels of mode I", ""),
        ("mask/empty.png", "0 bytes", ""),
        ("mask/text.png", "is text", ""),
        ("image/broken.png", "is text", ""),
    ]:
        problem = found.pop(f"train/{file}")
        assert words in problem.message and problem.effect == "left out" and problem.cure and problem.value == value
    assert not found and len(ids(root)) == 3
