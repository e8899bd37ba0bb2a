"""One string names a data set, in every command: ``open_source("voc:DIR", "train")``.

This file holds the table of kinds; each kind lives in a room of its own. A kind is added by writing two functions (open,
names of splits), a third that recognises its folders, and one line here. The folder alone is enough where one kind
recognises it.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from cnnvision.data.doubts import doubts_about
from cnnvision.data.faults import Findings, refuse
from cnnvision.data.sources import coco, csv_boxes, folders, instances, masks, tfds, voc
from cnnvision.data.sources.divided import PARTS, open_divided, undivided
from cnnvision.errors import DataError, listed, nearest
from cnnvision.storage import local_copy
from cnnvision.types import Source


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of data set.

    Attributes:
        form: what the user writes.
        open: (what follows the colon, split, classes or None) -> Source.
        split_names: what follows the colon -> names of the splits, train first.
        looks_right: whether a folder seems to be of this kind; None for kinds without a folder.
    """

    form: str
    open: Callable[[str, str, tuple[str, ...] | None], Source]
    split_names: Callable[[str], tuple[str, ...]]
    looks_right: Callable[[pathlib.Path], bool] | None = None


KINDS = {
    "shapes": Kind("shapes, shapes:single", tfds.open_shapes, tfds.shapes_split_names),
    "tfds": Kind("tfds:NAME", tfds.open_tfds, tfds.tfds_split_names),
    "voc": Kind("voc:DIR", voc.open_voc, voc.split_names, voc.looks_right),
    "coco": Kind("coco:DIR", coco.open_coco, coco.split_names, coco.looks_right),
    "instances": Kind("instances:DIR", instances.open_instances, instances.split_names, instances.looks_right),
    "masks": Kind("masks:DIR", masks.open_masks, masks.split_names, masks.looks_right),
    "csv": Kind("csv:DIR", csv_boxes.open_csv, csv_boxes.split_names, csv_boxes.looks_right),
    "folder": Kind("folder:DIR", folders.open_folder, folders.split_names, folders.looks_right),
}
"""Name before the colon -> kind. A bare folder is compared with them in this order: the most telling first."""


def open_source(name: str, split: str, classes: tuple[str, ...] | None = None) -> Source:
    """Opens a data set: reads its annotations, and checks each record as far as that goes without decoding pixels.

    Args:
        name: ``shapes``, ``voc:DIR`` … (the forms of `KINDS`). A DIR in a bucket, gs://…, is copied to this machine.
        split: for example "train". Where there is no such split, an alias stands for it (`SPLIT_ALIASES`: for "val",
            for example, "validation" or "test"), which `problems` says.
        classes: the class list to use, for example that of the train split or of a checkpoint; labels are mapped to it by
            name, and what has no name in it is left out. None: the data set's own: that of its
            train split or, for voc, of all its annotations and, for coco, of the opened file.

    Returns:
        A source; its `problems` tell what was left out, repaired or noticed.

    Raises:
        DataError: the name or the split is not known.
        DataSetError: (a DataError with `problems`) the data set cannot be used. EmptyDataError: nothing of it is left.
    """
    kind, rest = _kind(name)
    whole = undivided(kind.split_names(rest)) if kind.looks_right else None
    if whole is not None and split in PARTS:
        source = open_divided(rest, whole, split, classes, lambda *asked: kind.open(rest, *asked))
    else:
        source = kind.open(rest, split, classes)
    if name.partition(":")[0] not in KINDS:
        findings = Findings()
        findings.add(name, f"the folder is taken for {source.name}", "Name it so where another kind is added.", "kept")
        source.problems = [*findings.problems, *source.problems]
    doubts = doubts_about(source)
    source.problems = [*source.problems, *doubts]
    refuse(source.name, doubts)
    return source


def split_names(name: str) -> tuple[str, ...]:
    """Names of a data set's splits, train first. Raises DataError where the data set is not known."""
    kind, rest = _kind(name)
    parts = kind.split_names(rest)
    parts = PARTS if kind.looks_right and undivided(parts) is not None else parts
    return tuple(sorted(parts, key=lambda split: (split != "train", split != "val", split)))


def _kind(name: str) -> tuple[Kind, str]:
    word, _, rest = name.partition(":")
    if word in KINDS:
        return KINDS[word], local_copy(rest)
    forms = ", ".join(kind.form for kind in KINDS.values())
    folder = pathlib.Path(local_copy(name)).expanduser()
    if name and folder.is_dir():
        fitting = [known for known, kind in KINDS.items() if kind.looks_right and kind.looks_right(folder)]
        fitting = fitting if fitting == ["folder"] else [known for known in fitting if known != "folder"]  # all are folders
        if len(fitting) == 1:
            return KINDS[fitting[0]], str(folder)
        if fitting:
            both = listed(f"{known}:{name}" for known in fitting)
            raise DataError(f"Data {name!r} can be read in {len(fitting)} ways: name one of {both}.")
        raise DataError(f"Data {name!r} names a folder but not its kind, and it looks like none. Kinds: {forms}.")
    raise DataError(f"Data {name!r}: there is no kind {word!r}.{nearest(word, KINDS)} Kinds: {forms}.")
