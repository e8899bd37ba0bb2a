"""Images and their masks in two folders side by side: what `masks:DIR` and `instances:DIR` share.

    DIR/SPLIT/image/any/depth/NAME.*    or    DIR/image/SPLIT/...    or    DIR/image/...
    DIR/SPLIT/mask/any/depth/NAME.*           DIR/mask/SPLIT/...           DIR/mask/...

Other names of folders, and the forms of mmsegmentation, CamVid and Pascal VOC, are told in pairs_layout.py. An image and its
mask have one path within their folders, up to the suffix of the file and an ending of the mask's name (`STEM_ENDINGS`). The
third form is divided into train and val (sources/division.py).
"""

import dataclasses
import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings
from cnnvision.data.files import decode_text
from cnnvision.data.sources.folders import files_below
from cnnvision.data.sources.named_files import namesakes, near_file
from cnnvision.data.sources.pairs_layout import IMAGE_FOLDERS, MASK_FOLDERS, Part, find_layout, folders_in
from cnnvision.data.sources.records import data_folder, maps_fit, measure
from cnnvision.data.sources.splits import resolve_split
from cnnvision.errors import DataError

STEM_ENDINGS = ("_mask", "_label", "_L")
"""What a mask's name may have beyond its image's."""


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
    layout: dict[str, Part]

    @property
    def name(self) -> str:
        """The source string."""
        return f"{self.kind}:{self.folder}"

    def masks_of(self, part: str) -> str:
        """The folder of a split's masks, relative to the data set's folder, for messages."""
        return self.layout[part].masks.relative_to(self.root).as_posix()

    def pairs(self, part: str, findings: Findings) -> list[Pair]:
        """The pairs of one split; files without a partner are reported."""
        at = self.layout[part]
        image_files, mask_files = (_by_stem(self.root, folder, findings) for folder in (at.images, at.masks))
        if at.list:
            image_files = self._listed(at.list, image_files, findings)
            mask_files = {stem: file for stem, file in mask_files.items() if stem in image_files}
        partners = {stem: mask_files.pop(stem) for stem in image_files if stem in mask_files}
        for stem in image_files.keys() - partners.keys():
            longer = next((stem + ending for ending in STEM_ENDINGS if stem + ending in mask_files), None)
            if longer:
                partners[stem] = mask_files.pop(longer)
        pairs = []
        for stem, (path, file) in image_files.items():
            if stem in partners:
                pairs.append(Pair(path, file, *partners[stem]))
            else:
                where = at.masks.relative_to(self.root).as_posix()
                hint = near_file(f"{stem}.png", at.masks, findings)
                cure = f"Add {where}/{stem}.png, or delete the image.{hint}"
                findings.add(file, "the image has no mask", cure, "left out")
        for _, file in mask_files.values():
            findings.add(file, "the mask has no image", "Add the image, or delete the mask.", "left out")
        return pairs

    def _listed(self, path: pathlib.Path, files: dict[str, tuple[str, str]], findings: Findings) -> dict:
        """The images that a list names, in its order."""
        file = path.relative_to(self.root).as_posix()
        names = [line.strip() for line in decode_text(path.read_bytes(), file, findings).splitlines() if line.strip()]
        for name in names:
            if name not in files:
                cure = f"Add it, or delete the line.{namesakes(f'{name}.jpg', self.root, findings)}"
                findings.add(file, "there is no image of this name", cure, "left out", "", "name", name)
        return {name: files[name] for name in dict.fromkeys(names) if name in files}


def open_pairs(kind: str, folder: str, split: str, findings: Findings) -> PairFolder:
    """Finds the folders of ``kind:folder``. Raises DataError where it holds no pairs, or has no such split."""
    root = data_folder(kind, folder)
    layout = layout_of(kind, folder)
    part = resolve_split(f"{kind}:{folder}", split, layout, findings)
    for side, names in ((layout[part].images, IMAGE_FOLDERS), (layout[part].masks, MASK_FOLDERS)):
        beside = side if side.name.casefold() in names else side.parent
        for other in folders_in(beside.parent) if beside.name.casefold() in names else ():
            if other != beside and other.name.casefold() in names:
                file = other.relative_to(root).as_posix()
                findings.add(file, f"the folder is not read, {beside.name} is", "Delete or rename one of them.", "kept")
    return PairFolder(kind, folder, root, part, layout)


def layout_of(kind: str, folder: str) -> dict[str, Part]:
    """Where the pairs of ``kind:folder`` lie. Raises DataError, which says what is there instead, where it holds none."""
    root = data_folder(kind, folder)
    layout = find_layout(root, kind)
    if not layout:
        there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise DataError(f"{kind}:{folder}: should hold SPLIT/images and SPLIT/masks, or images and masks; there is {there}.")
    return layout


def split_names(kind: str, folder: str) -> tuple[str, ...]:
    """Names of the splits of ``kind:folder``: of its split folders; "" where it has none. Raises DataError for no pairs."""
    return tuple(layout_of(kind, folder))


def measured(pairs: list[Pair], findings: Findings) -> list[tuple[Pair, tuple[int, int]]]:
    """The pairs whose files can be used as far as their headers tell, each with its (height, width)."""
    sizes = measure([(pair.image, pair.id) for pair in pairs], findings)
    fit = maps_fit([(pair.mask, pair.mask_file) for pair in pairs], sizes, findings)
    return [(pair, size) for pair, size, fits in zip(pairs, sizes, fit, strict=True) if size and fits]


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
