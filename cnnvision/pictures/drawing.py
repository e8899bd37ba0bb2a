"""What pictures are drawn with: colours of classes, lines, tags, captions. Everything is RGB; PIL draws.

Colours belong to the index of a class, so a class has one colour in all pictures of a run.
"""

import colorsys
import functools
import importlib.util
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
"""Where systems keep their fonts."""

PAPER: Colour = (26, 28, 32)
INK: Colour = (232, 232, 232)
FAINT: Colour = (150, 152, 158)
RIGHT: Colour = (60, 190, 90)
WRONG: Colour = (235, 70, 60)
NEUTRAL: Colour = (80, 84, 92)

_FIRST_COLOURS: tuple[Colour, ...] = (
    (255, 196, 0),
    (30, 190, 255),
    (255, 92, 168),
    (120, 220, 60),
    (170, 120, 255),
    (255, 130, 40),
    (20, 214, 180),
    (230, 60, 60),
    (190, 200, 120),
    (90, 120, 255),
    (240, 160, 220),
    (160, 110, 60),
)


def colour(index: int) -> Colour:
    """The colour of a class: twelve chosen by hand, then hues a golden section apart, in changing brightness."""
    if index < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[index]
    hue, tier = index * 0.6180339887 % 1.0, index % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.55, 1.0)[tier], (1.0, 0.95, 0.72)[tier])
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek and Cyrillic letters (no need to import matplotlib)."""
    return ImageFont.truetype(_own_font(), size)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The font that a text is drawn in: `font`, or where that lacks a letter, one of the system's that has all of them."""
    return ImageFont.truetype(font_with(frozenset(text)) or _own_font(), size)


def shown(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as pictures can show them: without control characters; by number where no font has its letters."""
    plain = (" ".join("".join(c if c.isprintable() else " " for c in name).split()) for name in classes)
    return tuple(name if font_with(frozenset(name)) else f"class {k}" for k, name in enumerate(plain))


@functools.lru_cache(maxsize=4096)
def font_with(letters: frozenset[str]) -> str | None:
    """The file of a font that has all of some letters, our own first; None where no font of this machine has."""
    wanted = {ord(letter) for letter in letters}
    if wanted <= _letters(_own_font()):
        return _own_font()
    return next((file for file in _system_fonts() if wanted <= _letters(file)), None)


def _own_font() -> str:
    folder = pathlib.Path(importlib.util.find_spec("matplotlib").origin).parent
    return str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.cache
def _system_fonts() -> list[str]:
    folders = (pathlib.Path(folder).expanduser() for folder in FONT_FOLDERS)
    return sorted(
        str(path) for folder in folders for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf", ".ttc")
    )


@functools.lru_cache(maxsize=256)
def _letters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a damaged font of the system
        return frozenset()


def rectangle(picture: Image.Image, box: np.ndarray, ink: Colour, width: int) -> None:
    """A solid frame just inside a box x1 y1 x2 y2 (continuous pixels of the canvas), with a dark rim that parts it from any
    background."""
    draw, (x1, y1, x2, y2) = ImageDraw.Draw(picture), _corners(box)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0))
    draw.rectangle((x1, y1, x2, y2), outline=ink, width=width)


def dashed_rectangle(picture: Image.Image, box: np.ndarray, ink: Colour, width: int) -> None:
    """A dashed frame, white between the dashes, so that it is told from a solid one of the same colour."""
    draw, (x1, y1, x2, y2) = ImageDraw.Draw(picture), _corners(box)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0))
    draw.rectangle((x1, y1, x2, y2), outline=(255, 255, 255), width=width)
    dash = 4 * width
    for start in range(x1, x2 + 1, 2 * dash):
        for top in (y1, y2 - width + 1):
            draw.rectangle((start, top, min(start + dash, x2), top + width - 1), fill=ink)
    for start in range(y1, y2 + 1, 2 * dash):
        for left in (x1, x2 - width + 1):
            draw.rectangle((left, start, left + width - 1, min(start + dash, y2)), fill=ink)


def _corners(box: np.ndarray) -> tuple[int, int, int, int]:
    """First and last pixels of a box: at least three pixels to a side, so that something is seen."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, max(x2 - 1, x1 + 2), max(y2 - 1, y1 + 2)


def tag(picture: Image.Image, box: np.ndarray, text: str, ink: Colour, size: int) -> None:
    """A filled label at the upper left corner of a box: outside it where there is room, else inside."""
    face = font_for(text, size)
    width, height = int(face.getlength(text)) + 6, size + 5
    x1, y1, _, _ = _corners(box)
    x = max(0, min(x1, picture.width - width))
    y = y1 - height if y1 >= height else max(0, y1)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=ink)
    dark = 0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2] > 140
    draw.text((x + 3, y + height / 2), text, fill=(0, 0, 0) if dark else (255, 255, 255), font=face, anchor="lm")


def caption(
    picture: Image.Image, corner: tuple[int, int], width: int, parts: list[tuple[str, Colour | None]], size: int
) -> None:
    """One line of text from the upper left corner: each part after a square of its colour, cut at `width` pixels."""
    draw, (x, y) = ImageDraw.Draw(picture), corner
    end = x + width
    for text, ink in parts:
        face = font_for(text, size)
        if ink is not None and x + size < end:
            draw.rectangle((x, y + 2, x + size - 4, y + size - 2), fill=ink)
            x += size + 1
        while text and x + face.getlength(text) > end:
            text = text[:-2] + "…" if len(text) > 2 else ""
        draw.text((x, y + size / 2), text, fill=INK, font=face, anchor="lm")
        x += int(face.getlength(text)) + size // 2


def hatch(
    height: int, width: int, light: Colour = (66, 70, 78), dark: Colour = (44, 47, 53), period: int = 12
) -> np.ndarray:
    """Diagonal stripes, uint8 [height, width, 3]: for what is not image."""
    stripe = (np.arange(height)[:, None] + np.arange(width)) % period < period // 2
    return np.where(stripe[..., None], np.array(light, np.uint8), np.array(dark, np.uint8))


def blend(pixels: np.ndarray, inks: np.ndarray, opacity: float) -> np.ndarray:
    """Colours uint8 [..., 3] laid over pixels of the same or a broadcast shape, in 16 bits: at most 1 from exact."""
    share = round(256 * opacity)
    mixed = pixels.astype(np.uint16) * np.uint16(256 - share)
    mixed = mixed + inks.astype(np.uint16) * np.uint16(share)
    mixed += np.uint16(128)
    mixed >>= 8
    return mixed.astype(np.uint8)


def tint(image: np.ndarray, where: np.ndarray, ink: Colour, opacity: float) -> np.ndarray:
    """The image uint8 [h, w, 3] with a colour laid over it where bool [h, w] says."""
    image = image.copy()
    image[where] = blend(image[where], np.array(ink, np.uint8), opacity)
    return image


def enlarge(array: np.ndarray, factor: int, smooth: bool = True) -> np.ndarray:
    """uint8 [h, w, 3] or [h, w] -> `factor` times the height and width: bicubic, or by repeating pixels (ids)."""
    if factor == 1:
        return array
    size = (array.shape[1] * factor, array.shape[0] * factor)
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST))
