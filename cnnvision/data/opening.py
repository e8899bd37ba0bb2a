"""Opens the splits of a data set as training does: its own split first, the others with the classes that it has.

`doctor` looks at what this opens, so that it finds what training will find.
"""

from collections.abc import Sequence

from cnnvision.data.sources import open_source
from cnnvision.data.wrappers.subset import with_semantic_classes
from cnnvision.errors import DataError
from cnnvision.types import Source


def open_beside(name: str, split: str, classes: Sequence[str], semantic_classes: Sequence[str] = ()) -> Source:
    """A split with the classes of training, and those of its maps, where they are given.

    Raises:
        DataError: as `open_source`; and where the maps have too little in common with those of training.
    """
    return with_semantic_classes(open_source(name, split, tuple(classes)), tuple(semantic_classes))


def open_as_judged(name: str, split: str, train: Source) -> tuple[Source, str]:
    """A split as training on `train` would judge on it; and why their maps cannot be compared, "" where they can.

    Where the data have objects or classes of images, too, maps that cannot be compared concern segmentation alone, and the
    split is opened without their comparison. Raises DataError as `open_beside`.
    """
    try:
        return open_beside(name, split, train.classes, train.semantic_classes), ""
    except DataError as error:
        if not train.classes or not train.semantic_classes:
            raise
        return open_beside(name, split, train.classes), str(error)
