"""Maps of class ids: from the values in a file to the class ids of the source's own list."""

import numpy as np

from cnnvision.data.faults import UNTURNED, UNTURNED_CURE, RecordError
from cnnvision.types import IGNORE, Problem


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
        if tuple(shape[:2]) == tuple(size[::-1]):
            message, cure = f"{message}; it was drawn on another picture{UNTURNED}", UNTURNED_CURE.format("map")
        raise RecordError(Problem(file, "", field, f"{shape[1]} x {shape[0]}", message, cure, "left out"))


def class_map(raw: np.ndarray, table: dict[int, int], size: tuple[int, int], file: str, ignoring: str = "") -> np.ndarray:
    """Class ids of a semantic map.

    Args:
        raw: [H, W] uint8 or uint16, the values in the file; or uint8 [H, W, 3], its colours.
        table: value in the file, or colour as 0xRRGGBB -> class id, or IGNORE.
        size: (height, width) of the image.
        file: the record, for messages.
        ignoring: how the value 255 is declared as one that does not count; for messages.

    Returns:
        uint8 [H, W].

    Raises:
        RecordError: the map is not as large as its image, or holds a value that the table does not have.
    """
    check_map_size(raw.shape, size, file, "semantic")
    coloured = raw.ndim == 3
    ids = _ids_of_colours(raw, table) if coloured else _ids_of_values(raw, table)
    if (ids < 0).any():
        kind, shown = ("colours", 5) if coloured else ("values", 10)
        unknown = np.unique(colour_codes(raw[ids < 0]) if coloured else raw[ids < 0]).tolist()
        known = sorted(table)
        more = " …" if len(known) > 40 else ""
        message = f"the map has {kind} that stand for no class"
        cure = f"Known {kind}: {', '.join(_text(value, coloured) for value in known[:40])}{more}."
        if ignoring and not coloured and IGNORE in unknown:
            # The habit of most data sets; but files of 1 bit have it too, where it means foreground.
            cure += f" If {IGNORE} stands for pixels that do not count, {ignoring}. (A file of 1 bit holds 0 and {IGNORE}.)"
        value = " ".join(_text(value, coloured) for value in unknown[:shown])
        raise RecordError(Problem(file, "", "semantic", value, message, cure, "left out"))
    return ids.astype(np.uint8)


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """int32 [...]: each colour as 0xRRGGBB. Args: colours: uint8 [..., 3], RGB."""
    parts = colours.astype(np.int32)
    return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]


def colour_text(code: int) -> str:
    """``(255, 0, 10)`` for 0xFF000A."""
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"


def _text(value: int, coloured: bool) -> str:
    return colour_text(value) if coloured else str(value)


def _ids_of_values(raw: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """int16, -1 where the table does not have the value."""
    lookup = np.full(65536, -1, np.int16)  # also for 8 bits: the table may have values beyond them
    lookup[list(table)] = list(table.values())
    return lookup[raw]


def _ids_of_colours(raw: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """int16, -1 where the table does not have the colour."""
    known = np.array(sorted(table), np.int32)
    codes = colour_codes(raw)
    nearest = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    ids = np.array([table[code] for code in known.tolist()], np.int16)
    return np.where(known[nearest] == codes, ids[nearest], np.int16(-1))


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
    return masks_of(raw, np.arange(1, count + 1))


def masks_of(raw: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """bool [n, H, W]: where a map of instance ids has each id. Args: raw: [H, W]; ids: int [n], within the type of `raw`."""
    return raw[None] == ids.astype(raw.dtype)[:, None, None]


def instance_table(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What objects a map of instance ids has, in the order of their ids; 0 is background.

    Args:
        raw: [H, W] of any integer type, nothing below 0.

    Returns:
        ids: int64 [n]; boxes: float32 [n, 4], x1 y1 x2 y2, around all pixels of the id; areas: float32 [n], pixels.
    """
    counts = np.bincount(raw.ravel(), minlength=1)
    counts[0] = 0
    ids = np.flatnonzero(counts)
    number = np.cumsum(counts > 0) - 1  # id -> index into `ids`
    rows, columns = np.nonzero(raw)
    objects = number[raw[rows, columns]]
    least, most = np.full((2, len(ids)), max(raw.shape)), np.zeros((2, len(ids)), np.int64)
    for axis, positions in enumerate((columns, rows)):
        np.minimum.at(least[axis], objects, positions)
        np.maximum.at(most[axis], objects, positions + 1)
    return ids, np.concatenate([least, most]).T.astype(np.float32), counts[ids].astype(np.float32)
