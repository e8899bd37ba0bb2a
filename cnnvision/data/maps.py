"""Maps of class ids: from the values in a file to the class ids of the source's own list."""

import numpy as np

from cnnvision.data.faults import RecordError
from cnnvision.types import Problem


def check_map_size(shape: tuple[int, ...], size: tuple[int, int], file: str, field: str) -> None:
    """Raises RecordError where a map is not as large as its image.

    Args:
        shape: the map's, [H, W].
        size: (height, width) of the image, upright.
        file: the record, for the message.
        field: what the map is, for example "semantic".
    """
    if tuple(shape[:2]) != tuple(size):
        message = f"the map is not as large as its image of {size[1]} x {size[0]} pixels"
        cure = "Make it again from the image at its own size (resized maps: with nearest neighbour)."
        raise RecordError(Problem(file, "", field, f"{shape[1]} x {shape[0]}", message, cure, "left out"))


def class_map(raw: np.ndarray, table: dict[int, int], size: tuple[int, int], file: str) -> np.ndarray:
    """Class ids of a semantic map.

    Args:
        raw: [H, W], the values in the file.
        table: value in the file -> class id, or IGNORE.
        size: (height, width) of the image.
        file: the record, for messages.

    Returns:
        uint8 [H, W].

    Raises:
        RecordError: the map is not as large as its image, or holds a value that the table does not have.
    """
    check_map_size(raw.shape, size, file, "semantic")
    lookup = np.full(65536 if raw.dtype == np.uint16 else 256, -1, np.int16)
    lookup[list(table)] = list(table.values())
    ids = lookup[raw]
    if (ids < 0).any():
        unknown = np.unique(raw[ids < 0])
        message = "the map has values that stand for no class"
        cure = f"Known values: {', '.join(map(str, sorted(table)))}."
        value = " ".join(map(str, unknown[:10]))
        raise RecordError(Problem(file, "", "semantic", value, message, cure, "left out"))
    return ids.astype(np.uint8)


def instance_masks(raw: np.ndarray, count: int, size: tuple[int, int], file: str) -> np.ndarray:
    """Masks of a map of instance ids: 0 is background, i + 1 the object i.

    Args:
        raw: [H, W], the values in the file.
        count: how many objects there are.
        size: (height, width) of the image.
        file: the record, for messages.

    Returns:
        bool [count, H, W].

    Raises:
        RecordError: the map is not as large as its image.
    """
    check_map_size(raw.shape, size, file, "instances")
    return raw[None] == np.arange(1, count + 1, dtype=raw.dtype)[:, None, None]
