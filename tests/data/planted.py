"""Tiny data sets on disk, sound ones and ones with planted faults."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

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
