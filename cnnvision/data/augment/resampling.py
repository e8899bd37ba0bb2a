"""Moves pixels: from a rectangle of an image onto a rectangle of the input, or through any affine map.

Coordinates are continuous: pixel i covers [i, i+1) and its centre lies at i + 0.5, on both sides of every map. So the map
from the rectangle [a, b) onto [c, d) is x -> c + (x − a) · (d − c) / (b − a), and it is exactly what is done to the pixels.

OpenCV runs in the calling thread: parallel loading is the pipeline's business, and a pool of its own in every loader
thread would only take the processor away from the training step.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from cnnvision.ops.geometry import invert, map_boxes

cv2.setNumThreads(0)

Rectangle = tuple[int, int, int, int]
"""x1 y1 x2 y2, whole pixels, x1 < x2 and y1 < y2."""

Recolour = Callable[[np.ndarray], np.ndarray]
"""uint8 [h, w, 3] -> the same."""


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes with anti-aliasing: each output pixel is the mean of bilinear samples spread evenly over it.

    Along each axis they are 2^k, the power of two nearest to the shrinking (1 where the image is enlarged: plain bilinear
    interpolation), so samples are spaced 0.7 to 1.4 original pixels. This is an area average for about half the time of
    cv2.INTER_AREA, which is fast for whole factors only. Bilinear interpolation halves exactly, pixel by pair of pixels.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        size: (height, width) of the result, pixels.

    Returns:
        The resized image; `image` itself where it has that size already.
    """
    (height, width), (rows, columns) = size, image.shape[:2]
    if (height, width) == (rows, columns):
        return image
    down, across = (max(0, round(math.log2(old / new))) for old, new in ((rows, height), (columns, width)))
    image = cv2.resize(image, (width << across, height << down), interpolation=cv2.INTER_LINEAR)
    while down or across:
        down, across = max(0, down - 1), max(0, across - 1)
        image = cv2.resize(image, (width << across, height << down), interpolation=cv2.INTER_LINEAR)
    return image


def place_image(
    image: np.ndarray,
    source: Rectangle,
    target: Rectangle,
    size: tuple[int, int],
    fill: tuple[int, int, int] = (0, 0, 0),
    recolour: Recolour | None = None,
) -> np.ndarray:
    """The rectangle `source` of an image, resized onto the rectangle `target` of an image of `size`, the rest filled.

    Args:
        image: uint8 [H, W, 3].
        source: rectangle within the image.
        target: rectangle within the result.
        size: (height, width) of the result.
        fill: RGB outside the target.
        recolour: changes the colours of what is image, not of the fill.

    Returns:
        uint8 [height, width, 3]; it may be a view of `image`.
    """
    x1, y1, x2, y2 = target
    part = resize(image[source[1] : source[3], source[0] : source[2]], (y2 - y1, x2 - x1))
    part = recolour(part) if recolour else part
    if target == (0, 0, size[1], size[0]):
        return part
    result = np.empty((*size, 3), np.uint8)
    result[:] = np.array(fill, np.uint8)
    result[y1:y2, x1:x2] = part
    return result


def place_maps(maps: np.ndarray, source: Rectangle, target: Rectangle, size: tuple[int, int], fill: int) -> np.ndarray:
    """`place_image` for maps of ids: each pixel takes the id beneath its centre.

    Args:
        maps: [..., H, W] of any dtype.
        source, target, size: as for `place_image`.
        fill: id outside the target.

    Returns:
        [..., height, width] of the same dtype, an array of its own.
    """
    x1, y1, x2, y2 = target
    rows = source[1] + _centres(y2 - y1, source[3] - source[1])
    columns = source[0] + _centres(x2 - x1, source[2] - source[0])
    part = np.take(np.take(maps, rows, axis=-2), columns, axis=-1)
    if target == (0, 0, size[1], size[0]):
        return part
    result = np.full((*maps.shape[:-2], *size), fill, maps.dtype)
    result[..., y1:y2, x1:x2] = part
    return result


def _centres(count: int, length: int) -> np.ndarray:
    """Which of `length` pixels lies beneath the centre of each of `count`: floor((i + 1/2) · length / count), exactly."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * length // (2 * count)


def warp_image(
    image: np.ndarray,
    transform: np.ndarray,
    size: tuple[int, int],
    fill: tuple[int, int, int] = (0, 0, 0),
    recolour: Recolour | None = None,
) -> np.ndarray:
    """Takes an image through any affine map: what shrinks is shrunk first (`resize`), then turned by bilinear sampling.

    Args:
        image: uint8 [H, W, 3].
        transform: float [2, 3], original -> result pixels.
        size: (height, width) of the result.
        fill: RGB outside the image.
        recolour: changes the colours of what is image, not of the fill.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    back = map_boxes(np.array([0.0, 0.0, size[1], size[0]]), invert(transform))
    (x1, y1), (x2, y2) = np.floor(back[:2]).astype(int) - 2, np.ceil(back[2:]).astype(int) + 2
    x1, x2 = _within(x1, x2, width)
    y1, y2 = _within(y1, y2, height)
    scale_x, scale_y = np.minimum(np.linalg.norm(transform[:, :2], axis=0), 1.0)
    shrunk = (max(1, math.ceil((y2 - y1) * scale_y)), max(1, math.ceil((x2 - x1) * scale_x)))
    part = resize(image[y1:y2, x1:x2], shrunk)
    part = recolour(part) if recolour else part
    # Shrunk pixels -> original pixels -> result pixels.
    linear = transform[:, :2] @ np.diag([(x2 - x1) / shrunk[1], (y2 - y1) / shrunk[0]])
    offset = transform[:, :2] @ np.array([x1, y1]) + transform[:, 2]
    return cv2.warpAffine(
        part,
        _between_centres(linear, offset),
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(int(value) for value in fill),
    )


def _within(start: int, stop: int, length: int) -> tuple[int, int]:
    """[start, stop) cut to [0, length), at least one pixel long."""
    start = min(max(start, 0), length - 1)
    return start, min(max(stop, start + 1), length)


def warp_maps(maps: np.ndarray, transform: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """`warp_image` for maps of ids: uint8, bool or int32 [..., H, W] -> [..., height, width]; takes the id beneath each
    centre.
    """
    matrix = _between_centres(transform[:, :2], transform[:, 2])
    # OpenCV does not resample int32; float32 holds every count of objects exactly.
    flat = maps.reshape(-1, *maps.shape[-2:]).astype(np.float32 if maps.dtype == np.int32 else np.uint8, copy=False)
    result = np.empty((len(flat), *size), flat.dtype)
    for row, one in enumerate(flat):
        result[row] = cv2.warpAffine(
            one, matrix, (size[1], size[0]), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
        )
    return result.reshape(*maps.shape[:-2], *size).astype(maps.dtype, copy=False)


def _between_centres(linear: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The affine map in OpenCV's coordinates, whose whole numbers are centres of pixels: x = i + 1/2 on both sides."""
    return np.concatenate([linear, (offset + linear @ np.array([0.5, 0.5]) - 0.5)[:, None]], axis=1)
