"""`masks:DIR`: images with semantic maps, in two folders side by side (cnnvision/data/sources/pairs.py says which).

    DIR/classes.csv    value,name    or    red,green,blue,name    (cnnvision/data/maps/class_tables.py)

Maps are grey of up to 16 bits, palette (whose indices count) or 1-bit files (0 and 255); where the table has colours, the
colours count in all of them. Without a table each value that occurs in the masks of train is a class, whichever split is
opened; those masks are then all decoded first. 255 is ignore in the company of other values than 0, and is a class without.
"""

import os
import pathlib
from collections.abc import Sequence

from cnnvision.data.faults import Findings, refuse, refuse_empty
from cnnvision.data.files import read_bytes
from cnnvision.data.maps.class_tables import FILE, ClassTable, infer_table, read_table
from cnnvision.data.sources import pairs
from cnnvision.data.sources.pairs import PairFolder, measured, open_pairs
from cnnvision.data.sources.pairs_layout import find_layout, first_has_16_bits
from cnnvision.data.sources.records import Planes, Record, RecordSource
from cnnvision.data.sources.splits import stands_for
from cnnvision.types import Masks


class MaskSource(RecordSource):
    """A `RecordSource` whose records have semantic maps.

    Args:
        folder: the opened folder.
        split: as asked for.
        table: of the maps.
        records, findings, found: as of `RecordSource`.
    """

    def __init__(
        self,
        folder: PairFolder,
        split: str,
        table: ClassTable,
        records: Sequence[Record],
        findings: Findings,
        found: int,
    ):
        super().__init__(folder.name, split, (), records, findings, found, semantic_classes=table.names)
        self._table, self._root, self.meaning = table, str(folder.root), table.meaning

    def planes(self, index: int, masks: Masks) -> Planes:
        """The map alone. Raises RecordError where it cannot be read, or has a value that is not in the table."""
        record = self.records[index]
        file = os.path.relpath(record.map, self._root).replace(os.sep, "/")
        return None, self._table.read(read_bytes(record.map, file), record.size, file), None


def split_names(folder: str) -> tuple[str, ...]:
    """Names of the splits of ``masks:DIR``: of its split folders, or train and val where it has none."""
    return pairs.split_names("masks", folder)


def looks_right(root: pathlib.Path) -> bool:
    """Whether `root` holds folders of images and of masks, side by side, whose first mask has at most 8 bits."""
    part = next(iter(find_layout(root).values()), None)
    return part is not None and first_has_16_bits(part) is False


def open_masks(folder: str, split: str, classes: tuple[str, ...] | None) -> MaskSource:
    """Opens ``masks:DIR``; see `cnnvision.data.sources.open_source`. It has no objects, so `classes` means nothing here."""
    del classes
    findings = Findings()
    opened = open_pairs("masks", folder, split, findings)
    found = opened.pairs(opened.part, findings)
    usable = measured(found, findings)
    refuse_empty(opened.name, split, len(found), len(usable), findings.problems)
    if (opened.root / FILE).is_file():
        table, broken = read_table(opened.root / FILE, findings), {}
    else:
        part = _declaring(opened)
        own = [pair for pair, _ in usable]
        declaring = (
            own if part == opened.part else [pair for pair, _ in measured(opened.pairs(part, Findings()), Findings())]
        )
        maps = [(pair.mask, pair.mask_file) for pair in declaring]
        table, broken = infer_table(maps, opened.masks_of(part), findings)
        if table and len(table.names) == 1:
            message = f"every pixel of the {len(maps)} maps has the value {table.names[0]}: one class, and nothing to learn"
            cure = (
                f"Look at the masks: what was drawn may have been lost on the way. {FILE} (value,name) would name classes."
            )
            findings.add(opened.masks_of(part), message, cure, "refused", "", "value", table.names[0])
    refuse(opened.name, findings.problems)
    findings.problems += [broken[pair.mask] for pair, _ in usable if pair.mask in broken]
    records = [Record(pair.id, pair.image, size, map=pair.mask) for pair, size in usable if pair.mask not in broken]
    return MaskSource(opened, split, table, records, findings, len(found))


def _declaring(opened: PairFolder) -> str:
    """The split whose masks declare the classes: train where there is one."""
    return next(name for name in (stands_for("train", opened.layout), opened.part) if name is not None)
