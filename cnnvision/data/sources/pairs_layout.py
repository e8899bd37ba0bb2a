"""Where a folder of image and mask pairs keeps them.

SPLIT/image/, SPLIT/mask/    image/SPLIT/, mask/SPLIT/    image/, mask/    (names: `IMAGE_FOLDERS`, `MASK_FOLDERS`)
img_dir/SPLIT/, ann_dir/SPLIT/                            mmsegmentation
SPLIT/, SPLITannot/ (or SPLIT_labels/)                    CamVid
JPEGImages/, SegmentationClass/, ImageSets/Segmentation/SPLIT.txt    Pascal VOC; for instances SegmentationObject/
"""

import dataclasses
import pathlib

from cnnvision.data.decode import SUFFIXES, has_16_bits
from cnnvision.data.sources.folders import files_below, ignored
from cnnvision.data.sources.splits import WHOLE, split_word

IMAGE_FOLDERS = ("image", "images", "img", "imgs", "img_dir")
MASK_FOLDERS = ("mask", "masks", "label", "labels", "annotation", "annotations", "ann_dir")
BESIDE = ("annot", "_annot", "_labels", "_label", "_masks", "_mask", "_annotations")
"""What a split's folder of masks may have behind the name of its folder of images."""
VOC_MASKS = {"masks": "SegmentationClass", "instances": "SegmentationObject"}
_VOC_IMAGES, _VOC_LISTS = "JPEGImages", "ImageSets/Segmentation"


@dataclasses.dataclass(frozen=True)
class Part:
    """One split. Attributes: images, masks: folders; list: of the stems that belong to it, or None for all."""

    images: pathlib.Path
    masks: pathlib.Path
    list: pathlib.Path | None = None


def find_layout(root: pathlib.Path, kind: str = "masks") -> dict[str, Part]:
    """Split -> where its pairs lie, `WHOLE` where there are no splits; nothing where `root` holds none.

    Args:
        root: the data set's folder.
        kind: "masks" or "instances", where both lie side by side.
    """
    for base in (root, *sorted([*root.glob("VOC[0-9]*"), *root.glob("VOCdevkit/VOC[0-9]*")], reverse=True)):
        if (base / _VOC_IMAGES).is_dir() and (base / VOC_MASKS[kind]).is_dir():
            lists = {path.stem: path for path in sorted((base / _VOC_LISTS).glob("*.txt")) if path.name[0] != "."}
            return {
                name: Part(base / _VOC_IMAGES, base / VOC_MASKS[kind], path)
                for name, path in (lists or {WHOLE: None}).items()
            }
    folders = folders_in(root)
    splits = {folder.name: sides for folder in folders if (sides := _sides(folder))}
    own = _sides(root)
    if not splits and own:
        inner = [f.name for f in folders_in(own.images) if split_word(f.name) and (own.masks / f.name).is_dir()]
        return {name: Part(own.images / name, own.masks / name) for name in inner} or {WHOLE: own}
    beside = {folder.name: folder for folder in folders}
    found = {
        name: next((Part(folder, beside[name + end]) for end in BESIDE if name + end in beside), None)
        for name, folder in beside.items()
        if split_word(name)
    }
    return splits or {name: part for name, part in found.items() if part}


def first_has_16_bits(part: Part) -> bool | None:
    """Whether the first mask of a split has 16 bits, which class ids hardly ever need; None where there is no mask."""
    file = next((path for path in files_below(part.masks) if path.lower().endswith(SUFFIXES)), None)
    return None if file is None else has_16_bits(file)


def folders_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not ignored(p.name))


def _sides(folder: pathlib.Path) -> Part | None:
    """The folders of images and of masks within `folder`, or None where one is missing."""
    there = {inner.name.casefold(): inner for inner in folders_in(folder)}
    images, masks = (next((there[name] for name in names if name in there), None) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    return Part(images, masks) if images and masks else None
