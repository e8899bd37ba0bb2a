"""Boxes on the host's side, in NumPy: affine maps between the pixels of an original image and those of a network's input,
and overlaps.

A transform is float [2, 3]: it takes (x, y, 1) in continuous pixels of the original (pixel i covers [i, i+1)) to (x, y) in
continuous pixels of the input. Arithmetic is float64; what is returned to batches and files is float32.
"""

import numpy as np
from jaxtyping import Float, Num


def map_boxes(boxes: Float[np.ndarray, "*n 4"], transform: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "*n 4"]:
    """The smallest upright boxes around the mapped corners: exact unless the transform rotates or shears.

    Args:
        boxes: x1 y1 x2 y2, continuous pixels.
        transform: the affine map to apply to points (x, y, 1).

    Returns:
        float64 boxes x1 y1 x2 y2 on the other side of the map, x1 <= x2 and y1 <= y2, not clipped.
    """
    corners = np.stack([boxes[..., [0, 2, 0, 2]], boxes[..., [1, 1, 3, 3]]], axis=-1).astype(np.float64)
    mapped = corners @ transform[:, :2].T.astype(np.float64) + transform[:, 2]
    return np.concatenate([mapped.min(axis=-2), mapped.max(axis=-2)], axis=-1)


def invert(transform: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The inverse affine map, float64: what takes input pixels back to original pixels.

    Raises:
        np.linalg.LinAlgError: where the map has no inverse.
    """
    linear = np.linalg.inv(transform[:, :2].astype(np.float64))
    return np.concatenate([linear, -linear @ transform[:, 2:].astype(np.float64)], axis=-1)


def clip_boxes(boxes: Float[np.ndarray, "*n 4"], size: tuple[int, int]) -> Float[np.ndarray, "*n 4"]:
    """Boxes x1 y1 x2 y2 clipped to an image of `size` (height, width) pixels: [0, width] and [0, height]."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def overlaps(a: Num[np.ndarray, "*n 4"], b: Num[np.ndarray, "*m 4"]) -> Float[np.ndarray, "*k"]:
    """Intersection over union, float64, of boxes x1 y1 x2 y2 whose leading axes broadcast; 0 where neither has area."""
    both, area_a, area_b = _areas(a, b)
    union = area_a + area_b - both
    return np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0)


def covered(a: Num[np.ndarray, "*n 4"], b: Num[np.ndarray, "*m 4"]) -> Float[np.ndarray, "*k"]:
    """The share, float64, of each box of `a` that lies within the box of `b`, as in `overlaps`; 0 where it has no area."""
    both, area_a, _ = _areas(a, b)
    return np.where(area_a > 0, both / np.where(area_a > 0, area_a, 1.0), 0.0)


def _areas(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What both have in common, `a`, `b`."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    area = lambda corners, opposite: np.asarray(np.prod(np.maximum(opposite - corners, 0.0), axis=-1))
    both = area(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    return both, area(a[..., :2], a[..., 2:]), area(b[..., :2], b[..., 2:])


def paste_original(
    canvas: np.ndarray, labels: np.ndarray, transform: Float[np.ndarray, "2 3"], core: tuple[int, int, int, int]
) -> None:
    """Puts the class map of one row into the map of its original image: the one function that does, as `to_original` is
    for boxes. Each original pixel whose centre falls into the core takes the class there.

    Args:
        canvas: uint8 [H, W], original pixels; written to.
        labels: uint8 [h, w], input pixels.
        transform: original -> input pixels; it neither turns nor shears, as no transform of evaluation does.
        core: x1 y1 x2 y2, whole input pixels: the region whose predictions are kept.
    """
    x1, y1, x2, y2 = core
    if x1 >= x2 or y1 >= y2:
        return
    found = []
    for axis, (length, start, stop) in enumerate(zip(canvas.shape[::-1], (x1, y1), (x2, y2), strict=True)):
        scale, offset = (float(value) for value in (transform[axis, axis], transform[axis, 2]))
        position = (np.arange(length) + 0.5) * scale + offset
        # Half of the last bits of float32: the ends of the core must not be lost to rounding.
        inside = np.flatnonzero((position > start - 1e-3) & (position < stop + 1e-3))
        found.append((inside, np.clip(np.floor(position[inside]).astype(int), start, stop - 1)))
    (columns, from_columns), (rows, from_rows) = found
    if len(rows) and len(columns):
        canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = labels[from_rows[:, None], from_columns]


def to_original(
    boxes: Float[np.ndarray, "*n 4"], transform: Float[np.ndarray, "2 3"], size: tuple[int, int]
) -> Float[np.ndarray, "*n 4"]:
    """Takes predicted boxes back to the original image: the one function that does, for evaluation, files and pictures.

    Args:
        boxes: of one image, x1 y1 x2 y2, input pixels.
        transform: original pixels -> input pixels, a row of `Batch.transform`.
        size: (height, width) of the original image, pixels, as in `Example.size`.

    Returns:
        float32 boxes x1 y1 x2 y2 in original pixels, clipped to the original image.

    Raises:
        np.linalg.LinAlgError: where the transform has no inverse.
    """
    return clip_boxes(map_boxes(boxes, invert(transform)), size).astype(np.float32)


def touched(boxes: Num[np.ndarray, "*n 4"]) -> Num[np.ndarray, "*n 4"]:
    """The smallest boxes of whole pixels that hold all that boxes x1 y1 x2 y2 touch."""
    return np.concatenate([np.floor(boxes[..., :2]), np.ceil(boxes[..., 2:])], axis=-1)


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """The smallest box around each mask: bool [n, h, w], none of them empty -> float32 [n, 4], x1 y1 x2 y2."""
    height, width = masks.shape[1:]
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    return np.stack(
        [
            columns.argmax(axis=1),
            rows.argmax(axis=1),
            width - columns[:, ::-1].argmax(axis=1),
            height - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    ).astype(np.float32)
