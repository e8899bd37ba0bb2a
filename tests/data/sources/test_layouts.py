"""Folders as tools write them, opened by the folder alone: which kind each is taken for, its splits, boxes and pixels."""

import json

import numpy as np
import pytest

from cnnvision.data.sources import open_source, split_names
from tests.data.planted import encoded, picture, voc_object, voc_xml, write

BOX = [10.0, 8.0, 40.0, 40.0]
PIXELS = 30 * 32
SIZE = (64, 96)
TRAIN, VAL = ("train", range(4)), ("val", range(4, 6))


def draw(folder, numbers=range(6)):
    for number in numbers:
        write(folder / f"{number}.png", encoded(picture(number, *SIZE)))


def draw_maps(folder, numbers):
    for number in numbers:
        values = np.zeros(SIZE, np.uint8)
        values[8:40, 10:40] = 1
        write(folder / f"{number}.png", encoded(values))


def write_coco(path):
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]} for i in range(6)]
    box = {"category_id": 1, "bbox": [10, 8, 30, 32], "area": PIXELS, "iscrowd": 0}
    annotations = [{"id": 1 + i, "image_id": i, **box, "segmentation": [[10, 8, 40, 8, 40, 40, 10, 40]]} for i in range(6)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    write(path, json.dumps(content))


def write_voc(root, lists=()):
    draw(root / "JPEGImages")
    for number in range(6):
        content = voc_xml(str(number), voc_object("cell", (11, 9, 40, 40)), SIZE[1], SIZE[0])
        write(root / "Annotations" / f"{number}.xml", content)
    for split, numbers in lists:
        write(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(map(str, numbers)))


def cvat(root):
    draw(root / "images")
    write_coco(root / "annotations" / "instances_default.json")


def label_studio(root):
    draw(root / "images")
    write_coco(root / "result.json")


def via(root):
    draw(root)
    write_coco(root / "via_export_coco.json")


def voc_without_lists(root):
    write_voc(root)


def vocdevkit(root):
    write_voc(root / "VOCdevkit" / "VOC2012", (TRAIN, VAL))


def segmentation_class(root):
    draw(root / "JPEGImages")
    draw_maps(root / "SegmentationClass", range(6))
    for split, numbers in (TRAIN, VAL):
        write(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(map(str, numbers)))


def camvid(root):
    for split, numbers in (TRAIN, VAL):
        draw(root / split, numbers)
        draw_maps(root / f"{split}annot", numbers)


def mmsegmentation(root):
    for split, numbers in (TRAIN, VAL):
        draw(root / "img_dir" / split, numbers)
        draw_maps(root / "ann_dir" / split, numbers)


def keras_retinanet(root):
    draw(root / "images")
    write(root / "annotations.csv", "".join(f"images/{i}.png,10,8,40,40,cell\n" for i in range(6)))


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        (cvat, "coco"),
        (label_studio, "coco"),
        (via, "coco"),
        (voc_without_lists, "voc"),
        (vocdevkit, "voc"),
        (keras_retinanet, "csv"),
        (segmentation_class, "masks"),
        (camvid, "masks"),
        (mmsegmentation, "masks"),
    ],
)
def test_a_tools_folder_opens_by_its_name_alone(tmp_path, tool, kind):
    tool(tmp_path)
    assert split_names(str(tmp_path)) == ("train", "val")
    sources = [open_source(str(tmp_path), split) for split in ("train", "val")]
    assert sum(map(len, sources)) == 6 and min(map(len, sources)) > 0
    for source in sources:
        assert source.name.startswith(f"{kind}:")
        assert any(f"the folder is taken for {source.name}" in problem.message for problem in source.problems)
        example = source.read(0, masks=True)
        if kind == "masks":
            assert (example.semantic == 1).sum() == PIXELS
        else:
            assert source.classes == ("cell",) and example.objects.boxes.tolist() == [BOX]
