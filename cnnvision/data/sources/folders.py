"""`folder:DIR`: one folder a class, no boxes.

    DIR/train/CLASS/any/depth/*.jpg        or        DIR/CLASS/any/depth/*.jpg
    DIR/val/CLASS/any/depth/*.jpg

Split folders may be called as people call them: Training, Testing, test_set, seg_train/seg_train. Of the second form
sources/division.py makes train and val.
"""

import os
import pathlib

from cnnvision.data.decode import SUFFIXES
from cnnvision.data.faults import Findings, similar_names
from cnnvision.data.sources.records import Record, RecordSource, class_cure, data_folder, measure
from cnnvision.data.sources.splits import SPLIT_FOLDERS, WHOLE, resolve_split, split_word, stands_for

TRAIN = {"train", "training"}
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
"""What operating systems leave behind; names with a leading dot as well."""


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``folder:DIR``: of its split folders; "" where it has none."""
    return tuple(_split_folders(_unwrapped(data_folder("folder", folder)))) or (WHOLE,)


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds class folders with images, or split folders of them."""
    root = _unwrapped(root)
    parts = [*_split_folders(root).values()] or [root]
    return any(
        path.lower().endswith(SUFFIXES) for part in parts for classes in _folders(part)[:3] for path in files_below(classes)
    )


def open_folder(folder: str, split: str, classes: tuple[str, ...] | None) -> RecordSource:
    """Opens ``folder:DIR``; see `cnnvision.data.sources.open_source`."""
    name, root, findings = f"folder:{folder}", data_folder("folder", folder), Findings()
    inner = _unwrapped(root)
    if inner != root:
        message = "the one folder within holds everything, and is read in place of the data set's own"
        findings.add(inner.relative_to(root).as_posix(), message, f"Name folder:{inner}.", "kept")
    splits = _split_folders(inner)
    part = resolve_split(name, split, splits or (WHOLE,), findings)
    base = splits.get(part, inner)
    folders = _folders(base)
    if classes is None:
        declaring = splits.get(stands_for("train", splits), base)
        classes = tuple(f.name for f in _folders(declaring))
        similar_names(classes, declaring.relative_to(root).as_posix(), findings)
    _report_stray_images(root, base, findings)
    _report_unread(root, inner, splits, findings)
    files, unknown = [], 0
    for class_folder in folders:
        found = _images(root, class_folder, findings)
        if class_folder.name in classes:
            files += [(path, file, classes.index(class_folder.name)) for path, file in found]
        else:
            _report_unknown_class(root, class_folder, len(found), classes, findings)
            unknown += len(found)
    sizes = measure([(path, file) for path, file, _ in files], findings)
    records = [Record(file, path, size, label) for (path, file, label), size in zip(files, sizes, strict=True) if size]
    return RecordSource(name, split, classes, records, findings, len(files) + unknown)


def _split_folders(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Name -> folder of classes. Split folders are told from class folders of the same name (a train is also a vehicle) by
    holding folders; where a name has other words beside, one of the folders must be train's, and another no train's.
    """
    folders = {folder.name: _inner(folder) for folder in _folders(root)}
    bare = {name: inner for name, inner in folders.items() if name.casefold() in SPLIT_FOLDERS and _folders(inner)}
    others = [name for name in folders if name.casefold() not in SPLIT_FOLDERS]
    words = {split_word(name) for name in bare}
    if words & TRAIN or (bare and not others):
        return bare
    wordy = {name: inner for name, inner in folders.items() if split_word(name) and _folders(inner)}
    words = {split_word(name) for name in wordy}
    return wordy if words & TRAIN and words - TRAIN else {}


def _inner(folder: pathlib.Path) -> pathlib.Path:
    """The folder, or the one within that repeats its split: archives are often packed so (seg_train/seg_train)."""
    within = _folders(folder)
    repeats = len(within) == 1 and split_word(within[0].name) and split_word(within[0].name) == split_word(folder.name)
    return within[0] if repeats else folder


def _unwrapped(root: pathlib.Path) -> pathlib.Path:
    """The folder that holds classes or splits: the one within, where there is one alone that holds folders and it is called
    like no split."""
    within = _folders(root)
    alone = len(within) == 1 and not split_word(within[0].name) and _folders(within[0])
    return _unwrapped(within[0]) if alone and not any(p.suffix.lower() in SUFFIXES for p in root.iterdir()) else root


def _report_unread(root: pathlib.Path, base: pathlib.Path, splits: dict[str, pathlib.Path], findings: Findings) -> None:
    for folder in _folders(base) if splits else ():
        if folder.name not in splits and any(path.lower().endswith(SUFFIXES) for path in files_below(folder)):
            file = folder.relative_to(root).as_posix()
            message = f"the folder is no split, and is not read; {', '.join(splits)} are"
            findings.add(file, message, "Move its images into class folders of a split, or delete it.", "left out")


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder, sorted, without what operating systems leave behind."""
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
