"""Tiny data sets on disk, sound ones and ones with planted faults."""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from cnnvision.data.doctor import Report
from cnnvision.types import Problem

CSV_HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


def picture(seed: int, height: int = 30, width: int = 40) -> np.ndarray:
    """uint8 [height, width, 3]: a colour ramp with some noise, another for each seed, smooth enough for JPEG."""
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([columns * 5, rows * 7, (rows + columns) * 3], axis=-1)
    return (ramp + np.random.default_rng(seed).integers(0, 20, ramp.shape)).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    """An image file's bytes. Args: form: Pillow's name of the format; options: of Pillow's `save`."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    """An EXIF block that asks for an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def write(path: pathlib.Path, data: bytes | str) -> pathlib.Path:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def folder_set(root: pathlib.Path) -> pathlib.Path:
    """Class folders, nothing wrong: 2 splits, 2 classes, 3 and 2 images each, of 30 x 40 pixels."""
    seed = 0
    for split, count in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                seed += 1
                write(root / split / name / f"{number}.png", encoded(picture(seed)))
    return root


def csv_set(root: pathlib.Path, train_rows: Sequence[str] = (), images: int = 3) -> pathlib.Path:
    """CSV and images, nothing wrong: train has `images`, val one; each image with one box. `train_rows` are appended."""
    rows = []
    for number in range(images):
        write(root / "train" / "cat" / f"{number}.png", encoded(picture(number)))
        rows.append(f"cat/{number}.png,40,30,cat,{number},2,20,25")
    write(root / "train.csv", "\n".join([CSV_HEADER, *rows, *train_rows]) + "\n")
    write(root / "val" / "cat" / "0.png", encoded(picture(images)))
    write(root / "val.csv", f"{CSV_HEADER}\ncat/0.png,40,30,cat,1,2,20,25\n")
    return root


def voc_object(name: str, corners: Sequence[object], difficult: int = 0) -> str:
    """One <object>."""
    sides = "".join(f"<{side}>{c}</{side}>" for side, c in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


def voc_xml(stem: str, objects: str, width: int = 40, height: int = 30) -> str:
    """One annotation file."""
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{stem}.png</filename>{size}{objects}</annotation>"


def voc_set(root: pathlib.Path) -> pathlib.Path:
    """VOC's layout, nothing wrong: train has images a and b, val has c; boxes count from 1."""
    for number, (stem, split) in enumerate((("a", "train"), ("b", "train"), ("c", "val"))):
        write(root / "JPEGImages" / f"{stem}.png", encoded(picture(number)))
        objects = voc_object("dog", (1, 1, 10, 20)) + voc_object("cat", (5, 6, 40, 30), difficult=1)
        write(root / "Annotations" / f"{stem}.xml", voc_xml(stem, objects))
        names = root / "ImageSets" / "Main" / f"{split}.txt"
        write(names, (names.read_text() if names.exists() else "") + f"{stem}\n")
    return root


def add_to_voc(root: pathlib.Path, stem: str, xml: str | bytes | None, image: bytes | None, split: str = "train") -> None:
    """Adds one record, without its XML or its image where they are None."""
    if xml is not None:
        write(root / "Annotations" / f"{stem}.xml", xml)
    if image is not None:
        write(root / "JPEGImages" / f"{stem}.png", image)
    with open(root / "ImageSets" / "Main" / f"{split}.txt", "a") as names:
        names.write(f"{stem}\n")


def two_fields(height: int = 30, width: int = 40, left: int = 0, right: int = 255) -> np.ndarray:
    """uint8 [height, width], a map: 10 columns of `left`, the others `right`."""
    values = np.full((height, width), right, np.uint8)
    values[:, :10] = left
    return values


def masks_set(root: pathlib.Path, **values: int) -> pathlib.Path:
    """Images and maps, nothing wrong: train has 3 pairs, val 2. Args: values: of `two_fields`."""
    for seed, file in enumerate(("train/0", "train/1", "train/2", "val/3", "val/4")):
        split, stem = file.split("/")
        write(root / split / "image" / f"{stem}.png", encoded(picture(seed)))
        write(root / split / "mask" / f"{stem}.png", encoded(two_fields(**values)))
    return root


def three_objects() -> np.ndarray:
    """uint16 [30, 40]: objects 2, 7 and 900, the last one in two pieces."""
    ids = np.zeros((30, 40), np.uint16)
    ids[2:5, 3:10] = 7
    ids[20:, 39] = 2
    ids[0, 0] = ids[10, 12] = 900
    return ids


def instances_set(root: pathlib.Path) -> pathlib.Path:
    """Images and maps of instance ids, nothing wrong: train has 2 pairs, val one, each with `three_objects`."""
    for seed, file in enumerate(("train/0", "train/1", "val/2")):
        split, stem = file.split("/")
        write(root / split / "images" / f"{stem}.png", encoded(picture(seed)))
        write(root / split / "masks" / f"{stem}.png", encoded(Image.fromarray(three_objects())))
    return root


def coco_annotation(id: int, image: int, category: int, box: Sequence[float], **fields: object) -> dict:
    """One annotation; its segmentation is a rectangle as large as the box, unless `fields` have another."""
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    default = {"area": width * height, "iscrowd": 0, "segmentation": [corners]}
    return {"id": id, "image_id": image, "category_id": category, "bbox": list(box), **default, **fields}


def coco_set(
    root: pathlib.Path,
    annotations: Sequence[object] | None = None,
    images: Sequence[object] = (),
    categories: Sequence[object] = ({"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}),
    **lists: Mapping,
) -> pathlib.Path:
    """COCO's layout, nothing wrong: train2017 has images 10 and 20, val2017 has 30; 3 is cat, 7 is dog.

    Args:
        annotations: of train; by default a dog and a crowd of cats in image 10, and none in 20.
        images: appended to those of train.
        categories: of both.
        lists: replace what is in train's JSON.
    """
    if annotations is None:
        annotations = [
            coco_annotation(1, 10, 7, (2, 3, 10, 20)),
            coco_annotation(2, 10, 3, (5.5, 6, 30, 20), iscrowd=1, area=50.5),
        ]
    sound = {number: {"id": number, "file_name": f"{number}.png", "height": 30, "width": 40} for number in (10, 20, 30)}
    for number in sound:
        split = "val2017" if number == 30 else "train2017"
        write(root / split / f"{number}.png", encoded(picture(number)))
    train = {"images": [sound[10], sound[20], *images], "annotations": annotations, "categories": categories, **lists}
    val = {"images": [sound[30]], "annotations": [coco_annotation(1, 30, 7, (1, 2, 3, 4))], "categories": categories}
    for split, content in (("train2017", train), ("val2017", val)):
        write(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    return root


def found(report: Report, **fields: str) -> Problem:
    """The one problem of a report whose fields are these (`words`: some of its message)."""
    words = fields.pop("words", "")
    matching = [p for p in report.problems if words in p.message and all(getattr(p, k) == v for k, v in fields.items())]
    assert len(matching) == 1, (fields, [str(p) for p in report.problems])
    assert matching[0].cure and matching[0].message
    return matching[0]


def half(data: bytes) -> bytes:
    """The first half of a file."""
    return data[: len(data) // 2]
