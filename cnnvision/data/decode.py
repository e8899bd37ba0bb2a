"""The one decoder of images: bytes -> uint8 [H, W, 3] RGB, upright; and of label maps.

What comes in many forms leaves in one:
    orientation  the EXIF orientation is applied (that of the block ahead of the pixels; a damaged block counts as none).
    grey         repeated three times.
    palette      its colours in images, its indices in maps.
    alpha        dropped, the colours beneath it are kept, as OpenCV and TensorFlow do.
    CMYK, YCCK   turned into RGB without a colour profile; JPEG stores them inverted (Adobe's convention).
    16 bits      the upper 8 of them, for grey and colour: the range is scaled, nothing is clipped.
    frames       the first one; a TIFF of several pages of one size, a stack, is an error.
A picture is whole or it is an error: a file that breaks off, is no image, or unfolds to more pixels than memory should
hold raises `RecordError`. (What no decoder notices is a JPEG that broke off and was closed again by some other program: its
lower part is grey. `doctor` looks for that.)

All functions are safe to call from several threads; Pillow releases the interpreter lock while it decodes.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cnnvision.data.faults import RecordError, unusable
from cnnvision.data.maps.headers import (
    CURE_OF_MAPS,
    as_stored,
    check_alpha,
    check_map,
    check_pages,
    is_deep_grey,
    stored_range,
)
from cnnvision.types import Problem

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats that are read. Others stay closed on purpose: Pillow hands PostScript to an interpreter, for one."""

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Suffixes of files that are taken for images, in lower case."""


class ColourCodedError(RecordError):
    """A map whose pixels are colours where numbers were asked for."""


def decode_image(data: bytes, file: str) -> np.ndarray:
    """Decodes one image.

    Args:
        data: the whole encoded file.
        file: its name, for errors.

    Returns:
        uint8 [H, W, 3], RGB, upright; an array of its own that may be written to.

    Raises:
        RecordError: `data` is no image, breaks off, is damaged, too large, or has pixels of no fixed range (float).
    """
    with _reported(file, len(data)):
        image, orientation = _load(data, file)
        if is_deep_grey(image):
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(_upright(grey, orientation)[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise unusable(
                file, f"the pixels are 32-bit numbers (mode {image.mode}), whose range is not known", "Save it with 8 bits."
            )
        image.info.pop("transparency", None)  # else convert() would look for the transparent colour
        return np.ascontiguousarray(_upright(np.array(image.convert("RGB")), orientation))


def decode_map(data: bytes, file: str) -> np.ndarray:
    """Decodes one map of class ids or instance ids: the numbers in the file, not colours.

    Palette files give their indices, 1-bit files 0 and 255, colour files whose three channels agree that one channel. Grey
    of 2 or 4 bits, and a PGM of any greatest value, give the values in the file, which pictures stretch to 255.

    Args:
        data: the whole encoded file.
        file: its name, for errors.

    Returns:
        [H, W], uint8, or uint16 where the file has 16 bits.

    Raises:
        RecordError: as `decode_image`; also for what `check_map` refuses: JPEG and lossy WEBP, which do not keep ids,
            numbers of more than 16 bits or with fractions, colours of 16 bits. ColourCodedError: the channels of a colour
            file disagree.
    """
    with _reported(file, len(data)):
        image, orientation, stretched = _load_map(data, file)
        if image.mode == "1":
            values = np.asarray(image.convert("L"))
        elif is_deep_grey(image):
            values = as_stored(np.asarray(image), stretched).astype(np.uint16)
        elif image.mode in ("L", "P"):
            values = as_stored(np.asarray(image), stretched)
        elif image.mode in ("LA", "PA"):
            values = np.asarray(image)
            check_alpha(values, file)
            values = values[:, :, 0]
        else:
            values = np.asarray(image)
            check_alpha(values, file)
            if (values[:, :, :1] != values[:, :, 1:3]).any():
                raise ColourCodedError(Problem(file, "", "", "", "the map is colour-coded", CURE_OF_MAPS, "left out"))
            values = values[:, :, 0]
        return np.array(_upright(values, orientation))


def decode_colours(data: bytes, file: str) -> np.ndarray:
    """Decodes one map of classes that are told by their colours.

    Palette files give their colours, grey ones three equal channels, stretched to 0 ... 255; alpha is dropped.

    Args:
        data: the whole encoded file.
        file: its name, for errors.

    Returns:
        uint8 [H, W, 3].

    Raises:
        RecordError: as `decode_map`; also for 16 bits, which hold no such colours.
    """
    with _reported(file, len(data)):
        image, orientation, _ = _load_map(data, file)
        if is_deep_grey(image):
            raise unusable(file, "the map has 16 bits, and the table of classes has colours", "Save it with 8-bit colours.")
        if image.mode in ("LA", "PA", "RGBA"):
            check_alpha(np.asarray(image), file)
        image.info.pop("transparency", None)  # else convert() would look for the transparent colour
        return np.array(_upright(np.array(image.convert("RGB")), orientation))


def map_size(encoded: str | os.PathLike | bytes, file: str) -> tuple[int, int]:
    """(height, width) of a map as `decode_map` will return it, from the file's header alone.

    Args:
        encoded: a path, or the file's bytes.
        file: its name, for errors.

    Raises:
        RecordError: as `image_size`; also where the header tells that the file cannot hold ids, a JPEG for example.
    """
    return _size(encoded, file, check_map)


def image_size(encoded: str | os.PathLike | bytes, file: str) -> tuple[int, int]:
    """(height, width) of an image as `decode_image` will return it, from the file's header alone.

    Args:
        encoded: a path, or the file's bytes.
        file: its name, for errors.

    Raises:
        RecordError: the file does not exist, is empty, or is no image that can be read.
    """
    return _size(encoded, file)


def has_16_bits(path: str | os.PathLike) -> bool:
    """Whether a file is an image with pixels of 16 bits, as its header tells."""
    try:
        with _reported(str(path), None), _open(path, str(path)) as image:
            return is_deep_grey(image)
    except RecordError:
        return False


def deep_maximum(path: str | os.PathLike) -> int | None:
    """The greatest value of a grey image of 16 bits, as it is in the file; None for other images and unreadable ones."""
    try:
        with _reported(str(path), None), _open(path, str(path)) as image:
            return int(np.asarray(image).max()) if is_deep_grey(image) else None
    except RecordError:
        return None


def is_plain(data: bytes, file: str) -> bool:
    """Whether any other reader sees the picture that `decode_image` returns: 8-bit grey or RGB, stored upright."""
    with _reported(file, len(data)), _open(io.BytesIO(data), file) as image:
        return image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB") and _orientation(image) == 1


def _load(data: bytes, file: str) -> tuple[Image.Image, int]:
    image = _open(io.BytesIO(data), file)
    check_pages(image, file)
    orientation = _orientation(image)
    image.load()
    return image, orientation


def _load_map(data: bytes, file: str) -> tuple[Image.Image, int, tuple[int, int] | None]:
    """The image, its orientation, and how its values were stretched: Pillow forgets what it loaded them from."""
    image = _open(io.BytesIO(data), file)
    check_pages(image, file)
    check_map(image, file)
    stretched, orientation = stored_range(image), _orientation(image)
    image.load()
    return image, orientation, stretched


def _size(
    encoded: str | os.PathLike | bytes, file: str, check: Callable[[Image.Image, str], None] | None = None
) -> tuple[int, int]:
    length = len(encoded) if isinstance(encoded, bytes) else None
    with _reported(file, length), _open(io.BytesIO(encoded) if length is not None else encoded, file) as image:
        check_pages(image, file)
        if check:
            check(image, file)
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def _open(stream: io.BytesIO | str | os.PathLike, file: str) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as error:
        if isinstance(stream, io.BytesIO):
            head = stream.getvalue()[:512]
        else:
            with open(stream, "rb") as opened:
                head = opened.read(512)
        raise unusable(file, *_no_image(head)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise unusable(file, f"the file unfolds to too many pixels ({error})", "Cut it into tiles.") from error


def _orientation(image: Image.Image) -> int:
    """1 … 8. TIFF is 1: Pillow itself turns it upright. Only what stands ahead of the pixels is looked at: it's cheap."""
    block = image.info.get("exif")
    if not block or image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's reader of damaged EXIF raises a dozen kinds; such a block says nothing
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns [H, W, ...] as EXIF asks (1: not at all); a view."""
    swapped = pixels.swapaxes(0, 1)
    turned = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: swapped, 6: swapped[:, ::-1]}
    return {**turned, 7: swapped[::-1, ::-1], 8: swapped[::-1]}.get(orientation, pixels)


@contextlib.contextmanager
def _reported(file: str, length: int | None) -> Iterator[None]:
    """Turns whatever a decoder raises into a RecordError that names the file."""
    try:
        if length == 0:
            raise unusable(file, "the file is empty (0 bytes)", "Copy or download it again.")
        yield
    except RecordError:
        raise
    except FileNotFoundError as error:
        raise unusable(file, "the file does not exist", "Add it, or delete its record.") from error
    except OSError as error:
        if error.errno is not None:
            raise unusable(file, f"the file cannot be read: {error.strerror}", "Look at the file and its rights.") from error
        raise _damaged(file, error) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds of exceptions on damaged files
        raise _damaged(file, error) from error


def _damaged(file: str, error: Exception) -> RecordError:
    return unusable(
        file,
        f"the image breaks off or is damaged ({type(error).__name__}: {str(error)[:120]})",
        "Copy or download it again, or delete it with its record.",
    )


def _no_image(head: bytes) -> tuple[str, str]:
    """(message, cure) for a file whose first bytes `head` begin none of the known formats."""
    known = f"Known formats: {', '.join(FORMATS)}."
    if not head:
        return "the file is empty (0 bytes)", "Copy or download it again."
    if b"ftyphei" in head[:16] or b"ftypmif1" in head[:16] or b"ftypavif" in head[:16]:
        return "the file is a HEIC or AVIF image, which is not read", f"Convert it to JPEG or PNG. {known}"
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) > 0.9 * len(head) and sum(c.isprintable() or c.isspace() for c in text) > 0.95 * len(text):
        return f"the file is text, no image: it begins {text[:40]!r}", "Replace it by the image (a failed download?)."
    return "the file is no image, or of a format that is not read", f"Convert it to JPEG or PNG. {known}"
