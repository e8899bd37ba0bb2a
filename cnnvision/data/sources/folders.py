"""`folder:DIR`: one folder a class, no boxes.

    DIR/train/CLASS/any/depth/*.jpg        or        DIR/CLASS/any/depth/*.jpg
    DIR/val/CLASS/any/depth/*.jpg

In the second form the files are divided, about 80 of 100 into train and the rest into val, by a hash of each file's path
within DIR: the same on every machine, and unchanged for the others when files are added.
"""

import hashlib
import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, similar_names
from cnnvision.data.sources.records import Record, RecordSource, class_cure, data_folder, measure, resolve_split

SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
TRAIN_SHARE = 0.8
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
"""What operating systems leave behind; names with a leading dot as well."""


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``folder:DIR``: of its split folders, or train and val where it has none."""
    return _split_folders(data_folder("folder", folder)) or ("train", "val")


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds class folders with images, or split folders of them."""
    parts = [root / split for split in _split_folders(root)] or [root]
    return any(files_below(classes) for part in parts for classes in _folders(part)[:3])


def open_folder(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``folder:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"folder:{folder}", data_folder("folder", folder), Findings()
    splits = _split_folders(root)
    part = resolve_split(name, split, splits or ("train", "val"), findings)
    base = root / part if splits else root
    folders = _folders(base)
    if not splits:
        findings.add(
            ".",
            "there are no split folders, so about 80 of 100 files are train and the others val, by a hash of their paths",
            "Make DIR/train/CLASS and DIR/val/CLASS to divide them yourself.",
            "kept",
        )
    if classes is None:
        declaring = root / "train" if "train" in splits else base
        classes = tuple(f.name for f in _folders(declaring))
        similar_names(classes, declaring.relative_to(root).as_posix(), findings)
    _report_stray_images(root, base, findings)
    files, unknown = [], 0
    for class_folder in folders:
        found = [(path, file) for path, file in _images(root, class_folder, findings) if splits or division(file) == part]
        if class_folder.name in classes:
            files += [(path, file, classes.index(class_folder.name)) for path, file in found]
        else:
            _report_unknown_class(root, class_folder, len(found), classes, findings)
            unknown += len(found)
    sizes = measure([(path, file) for path, file, _ in files], findings)
    records = [Record(file, path, size, label) for (path, file, label), size in zip(files, sizes, strict=True) if size]
    return RecordSource(name, split, classes, records, findings, len(files) + unknown)


def _split_folders(root: pathlib.Path) -> tuple[str, ...]:
    """Split folders are told from class folders of the same name (a train is also a vehicle) by holding folders."""
    present = [name for name in SPLIT_FOLDERS if _folders(root / name)]
    others = [f for f in _folders(root) if f.name not in SPLIT_FOLDERS]
    return tuple(present) if "train" in present or not others else ()


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not ignored(p.name)) if folder.is_dir() else []


def ignored(name: str) -> bool:
    """Whether a file or folder of that name is no part of the data."""
    return name.startswith(".") or name.lower() in IGNORED


def files_below(folder: pathlib.Path) -> list[str]:
    """Paths of all files beneath `folder`, sorted, without what operating systems leave behind."""
    paths = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not ignored(name)]
        paths += [os.path.join(top, name) for name in names if not ignored(name)]
    return sorted(paths)


def _images(root: pathlib.Path, class_folder: pathlib.Path, findings: Findings) -> list[tuple[str, str]]:
    """(path, id) of the images of one class; reports what else lies there."""
    images = []
    for path in files_below(class_folder):
        file = pathlib.Path(path).relative_to(root).as_posix()
        if path.lower().endswith(SUFFIXES):
            images.append((path, file))
        else:
            cure = f"Remove it from the class folder, or convert it. Suffixes of images: {' '.join(SUFFIXES)}"
            findings.add(file, "the file's suffix is not that of an image", cure, "left out")
    if not images:
        findings.add(
            class_folder.relative_to(root).as_posix(),
            "the class folder holds no image; the class is learnt from nothing",
            "Add images, or delete the folder.",
            "kept",
        )
    return images


def _report_stray_images(root: pathlib.Path, base: pathlib.Path, findings: Findings) -> None:
    for path in sorted(base.iterdir()):
        if path.is_file() and path.suffix.lower() in SUFFIXES and not ignored(path.name):
            file = path.relative_to(root).as_posix()
            findings.add(file, "the image lies in no class folder", "Move it into the folder of its class.", "left out")


def _report_unknown_class(
    root: pathlib.Path, class_folder: pathlib.Path, count: int, classes: tuple[str, ...], findings: Findings
) -> None:
    findings.add(
        class_folder.relative_to(root).as_posix(),
        f"the class of {count} images is not among those of training",
        class_cure(class_folder.name, classes),
        "left out",
        field="class",
        value=class_folder.name,
    )


def division(file: str) -> str:
    """train or val, for a file of a data set without split folders. Args: file: its path within the data set's folder."""
    share = int.from_bytes(hashlib.sha256(file.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return "train" if share < TRAIN_SHARE else "val"
