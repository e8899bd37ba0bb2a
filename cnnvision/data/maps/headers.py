"""What the header of a map tells before a pixel is decoded: whether it holds ids at all, and whether Pillow stretches them.

Pillow turns all grey into the full range of 8 or 16 bits: a 3 of 4 bits arrives as 51, and so does the 1 of a PGM whose
greatest value is 5. `stored_range` says what was stretched, and `as_stored` undoes it exactly. Where bits are lost, or
where the file is a picture by its compression, `check_map` refuses it.

Files of 1 bit are left as they are seen, 0 and 255: this is what masks of two values have in all other formats.
"""

import numpy as np
from PIL import Image

from cnnvision.data.faults import unusable

CURE_OF_MAPS = "Save class or instance ids as an 8-bit or 16-bit grey, or a palette, PNG."

_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA")
_GREY_BITS = {"L;2": 2, "L;4": 4}
"""Beginnings of Pillow's names of pixels in a file; what follows is the order of bits."""
_SUBFILE = 254
"""TIFF's tag of what a page is; bit 0: a smaller copy of another."""
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")


def check_map(image: Image.Image, file: str) -> None:
    """Raises RecordError where a map cannot hold ids. Args: image: opened, not yet loaded; file: its name, for errors."""
    compression = image.info.get("compression")
    if image.format in ("JPEG", "MPO"):
        raise unusable(file, "the map is a JPEG, which changes ids near every edge", "Save maps as PNG.")
    if (image.format == "WEBP" and _is_lossy_webp(image)) or (image.format == "TIFF" and compression in _LOSSY_TIFF):
        name = f"a {image.format} of lossy compression"
        raise unusable(file, f"the map is {name}, which changes ids near every edge", "Save maps as PNG.")
    if image.mode not in _MODES and not is_deep_grey(image):
        raise unusable(file, f"the map has pixels of mode {image.mode}", CURE_OF_MAPS)
    pixels, greatest = _in_file(image)
    if ";16" in pixels and not is_deep_grey(image):
        message = "the map has several channels of 16 bits, of which only the upper 8 are read"
        raise unusable(file, message, CURE_OF_MAPS)
    if image.mode == "RGB" and greatest not in (None, 255):
        message = f"the map has colours whose greatest value is {greatest}, and they would be stretched to 255"
        raise unusable(file, message, f"Save its colours with 8 bits. {CURE_OF_MAPS}")
    if image.mode == "L" and "I" in pixels.partition(";")[2]:
        message = "the map is a TIFF that stores white as 0, and readers disagree about its numbers"
        raise unusable(file, message, CURE_OF_MAPS)


def check_pages(image: Image.Image, file: str) -> None:
    """Raises RecordError for a TIFF of several pages of one size, of which one alone would be read.

    Smaller copies of a page (pyramids, thumbnails) are no pages of their own.

    Args:
        image: opened, not yet loaded; it stands at its first page again afterwards.
        file: its name, for errors.
    """
    if image.format != "TIFF" or getattr(image, "n_frames", 1) == 1:
        return
    size, pages = image.size, 0
    for page in range(image.n_frames):
        image.seek(page)
        pages += image.size == size and not image.tag_v2.get(_SUBFILE, 0) & 1
    image.seek(0)
    if pages > 1:
        message = f"the TIFF has {pages} pages, and an example is one picture"
        raise unusable(file, message, "Save each page, and each page of its map, as a file of its own.")


def check_alpha(values: np.ndarray, file: str) -> None:
    """Raises RecordError for a map that is drawn in the alpha channel alone. Args: values: [H, W, c], alpha the last one."""
    if values.shape[2] in (2, 4) and np.ptp(values[:, :, -1]) and not np.ptp(values[:, :, :-1], axis=(0, 1)).any():
        message = "the map lies in the alpha channel; its colour is one everywhere"
        raise unusable(file, message, f"Save the alpha channel as the map. {CURE_OF_MAPS}")


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an opened image is grey of 16 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def stored_range(image: Image.Image) -> tuple[int, int] | None:
    """How grey is stretched when it is decoded; None where the values stay.

    Args:
        image: opened, not yet loaded.

    Returns:
        The greatest value that the file can hold, and the value that Pillow makes of it.
    """
    pixels, greatest = _in_file(image)
    full = {"L": 255, "I": 65535}.get(image.mode)
    bits = _GREY_BITS.get(pixels[:3])
    greatest = 2**bits - 1 if bits else greatest
    return None if full is None or greatest in (None, full) else (greatest, full)


def as_stored(values: np.ndarray, stretched: tuple[int, int] | None) -> np.ndarray:
    """The numbers in the file, from those that were decoded.

    Args:
        values: [H, W], decoded.
        stretched: of `stored_range`.

    Returns:
        [H, W]: `values`, or what the file has instead: uint8, or uint16 where it does not fit.
    """
    if stretched is None:
        return values
    greatest, full = stretched
    # Exact: stretched values are rounded by at most a half, and their spacing, `full / greatest`, is more than 1.
    stored = (values.astype(np.int64) * greatest + full // 2) // full
    return stored.astype(np.uint8 if greatest < 256 else np.uint16)


def _in_file(image: Image.Image) -> tuple[str, int | None]:
    """Pillow's name of the pixels as they lie in the file ("L;4"), and the greatest value that a PGM or PPM declares."""
    arguments = image.tile[0][3] if image.tile else None
    if isinstance(arguments, str):
        return arguments, None
    first, *others = arguments or ("",)
    greatest = others[0] if image.format == "PPM" and others and isinstance(others[0], int) else None
    return (first if isinstance(first, str) else ""), greatest


def _is_lossy_webp(image: Image.Image) -> bool:
    """Whether the (first) picture of a WEBP is in a chunk VP8, not VP8L."""
    offset = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read()
    image.fp.seek(offset)
    start = 12
    while start + 8 <= len(data):
        kind, length = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # A frame of an animation holds chunks behind its own head of 16 bytes; other chunks end at an even offset.
        start += 8 + 16 if kind == b"ANMF" else 8 + length + length % 2
    return False
