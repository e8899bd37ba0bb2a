"""Images and their masks in two folders side by side: what `masks:DIR` and `instances:DIR` share.

    DIR/SPLIT/image/any/depth/NAME.*    or    DIR/image/SPLIT/...    or    DIR/image/...
    DIR/SPLIT/mask/any/depth/NAME.*           DIR/mask/SPLIT/...           DIR/mask/...

The folders may also be called images, img, imgs; and masks, label, labels, annotation, annotations. An image and its mask
have one path within their folders, up to the suffix of the file and a ``_mask`` or ``_label`` at the end of the mask's name.
In the third form the pairs are divided into train and val as the files of `folder:DIR` are, by a hash of the image's path.
"""

import dataclasses
import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings
from cnnvision.data.sources.folders import SPLIT_FOLDERS, division, files_below, ignored
from cnnvision.data.sources.records import data_folder, maps_fit, measure, near_file, resolve_split
from cnnvision.errors import DataError

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = ("mask", "masks", "label", "labels", "annotation", "annotations")
STEM_ENDINGS = ("_mask", "_label")
"""What a mask's name may have beyond its image's."""

Layout = dict[str, tuple[pathlib.Path, pathlib.Path]]
"""Split -> (folder of images, folder of masks); the one split "" where there are no folders of splits."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        image, mask: where they lie.
        id, mask_file: their paths relative to the data set's folder, with `/`.
    """

    image: str
    id: str
    mask: str
    mask_file: str


@dataclasses.dataclass(frozen=True)
class PairFolder:
    """A folder of pairs, of which one split is asked for.

    Attributes:
        kind, folder: of the source string.
        root: the folder.
        part: name of the split as the folder has it.
        layout: where the splits lie.
    """

    kind: str
    folder: str
    root: pathlib.Path
    part: str
    layout: Layout

    @property
    def name(self) -> str:
        """The source string."""
        return f"{self.kind}:{self.folder}"

    def masks_of(self, part: str) -> str:
        """The folder of a split's masks, relative to the data set's folder, for messages."""
        return self.layout["" if "" in self.layout else part][1].relative_to(self.root).as_posix()

    def pairs(self, part: str, findings: Findings) -> list[Pair]:
        """The pairs of one split; files without a partner are reported."""
        divided = "" in self.layout
        images, masks = self.layout["" if divided else part]
        image_files, mask_files = (_by_stem(self.root, folder, findings) for folder in (images, masks))
        partners = {stem: mask_files.pop(stem) for stem in image_files if stem in mask_files}
        for stem in image_files.keys() - partners.keys():
            longer = next((stem + ending for ending in STEM_ENDINGS if stem + ending in mask_files), None)
            if longer:
                partners[stem] = mask_files.pop(longer)
        pairs = []
        for stem, (path, file) in image_files.items():
            if divided and division(file) != part:
                continue
            if stem in partners:
                pairs.append(Pair(path, file, *partners[stem]))
            else:
                where = masks.relative_to(self.root).as_posix()
                cure = f"Add {where}/{stem}.png, or delete the image.{near_file(f'{stem}.png', masks, findings)}"
                findings.add(file, "the image has no mask", cure, "left out")
        for _, file in mask_files.values():
            findings.add(file, "the mask has no image", "Add the image, or delete the mask.", "left out")
        return pairs


def open_pairs(kind: str, folder: str, split: str, findings: Findings) -> PairFolder:
    """Finds the folders of ``kind:folder``. Raises DataError where it holds no pairs, or has no such split."""
    root = data_folder(kind, folder)
    layout = find_layout(root)
    if not layout:
        there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise DataError(f"{kind}:{folder}: should hold SPLIT/images and SPLIT/masks, or images and masks; there is {there}.")
    part = resolve_split(f"{kind}:{folder}", split, _names(layout), findings)
    if "" in layout:
        message = (
            "there are no split folders, so about 80 of 100 images are train and the others val, by a hash of their paths"
        )
        cure = "Make DIR/train/images, DIR/train/masks, DIR/val/images and DIR/val/masks to divide them yourself."
        findings.add(".", message, cure, "kept")
    for side, names in zip(layout["" if "" in layout else part], (IMAGE_FOLDERS, MASK_FOLDERS), strict=True):
        beside = side if side.name.casefold() in names else side.parent
        for other in _folders(beside.parent):
            if other != beside and other.name.casefold() in names:
                file = other.relative_to(root).as_posix()
                findings.add(file, f"the folder is not read, {beside.name} is", "Delete or rename one of them.", "kept")
    return PairFolder(kind, folder, root, part, layout)


def split_names(kind: str, folder: str) -> tuple[str, ...]:
    """Names of the splits of ``kind:folder``: of its split folders, or train and val where it has none."""
    return _names(find_layout(data_folder(kind, folder)))


def find_layout(root: pathlib.Path) -> Layout:
    """Where the pairs lie; nothing where `root` holds none."""
    found = {folder.name: _sides(folder) for folder in _folders(root)}
    splits = {name: sides for name, sides in found.items() if sides}
    own = _sides(root)
    if splits or not own:
        return splits
    images, masks = own
    inner = [f.name for f in _folders(images) if f.name in SPLIT_FOLDERS and (masks / f.name).is_dir()]
    return {name: (images / name, masks / name) for name in inner} or {"": own}


def measured(pairs: list[Pair], findings: Findings) -> list[tuple[Pair, tuple[int, int]]]:
    """The pairs whose files can be used as far as their headers tell, each with its (height, width)."""
    sizes = measure([(pair.image, pair.id) for pair in pairs], findings)
    fit = maps_fit([(pair.mask, pair.mask_file) for pair in pairs], sizes, findings)
    return [(pair, size) for pair, size, fits in zip(pairs, sizes, fit, strict=True) if size and fits]


def _names(layout: Layout) -> tuple[str, ...]:
    return ("train", "val") if "" in layout else tuple(layout)


def _sides(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path] | None:
    """The folders of images and of masks within `folder`, or None where one is missing."""
    there = {inner.name.casefold(): inner for inner in _folders(folder)}
    sides = [next((there[name] for name in names if name in there), None) for names in (IMAGE_FOLDERS, MASK_FOLDERS)]
    return (sides[0], sides[1]) if sides[0] and sides[1] else None


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not ignored(p.name))


def _by_stem(root: pathlib.Path, folder: pathlib.Path, findings: Findings) -> dict[str, tuple[str, str]]:
    """Path within `folder`, without suffix -> (path, path within `root`) of its images; reports what else lies there."""
    found: dict[str, tuple[str, str]] = {}
    for path in files_below(folder):
        stem = pathlib.Path(os.path.splitext(path)[0]).relative_to(folder).as_posix()
        file = pathlib.Path(path).relative_to(root).as_posix()
        if not path.lower().endswith(SUFFIXES):
            cure = f"Remove it from the folder, or convert it. Suffixes of images: {' '.join(SUFFIXES)}"
            findings.add(file, "the file's suffix is not that of an image", cure, "left out")
        elif stem in found:
            cure = "Delete one of them, or give them names of their own."
            findings.add(file, f"only its suffix tells it from {found[stem][1]}, which is used", cure, "left out")
        else:
            found[stem] = path, file
    return found
