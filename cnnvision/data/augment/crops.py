"""Which window of an image, or of a canvas around it, a training row shows.

The window is cut out as in Szegedy et al. 2015 (Inception), section 6. The canvas is that of Liu et al. 2016 (SSD), section
3.6, and the patch that overlaps an object that of its section 2.2, "Data augmentation".

Deviations from SSD's paper: a patch's sides are 0.3 to 1 of the canvas's, not 0.1, and the canvas is drawn for half of the
images, as in its authors' code (Caffe); each patch shows the centre of an object, the freely drawn one, too, as in
torchvision's RandomIoUCrop.
"""

import math

import numpy as np

from cnnvision.data.options import AugmentSettings
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import overlaps

Window = tuple[float, float, float, float]
"""(x, y, width, height), original pixels; it may reach beyond the image."""

LEAST_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Least IoU of a patch with an object, one of which is chosen at random; a seventh choice is the whole canvas."""
SIDES = (0.3, 1.0)
"""(least, most) side of a patch, as a share of the canvas's."""
ASPECTS = (0.5, 2.0)
"""(least, most) width / height of a patch."""
TRIALS = 50
"""Patches that are drawn for each least IoU (torchvision draws 40)."""
CHOICES = len(LEAST_OVERLAPS) + 1
PATCH_DRAWS = 1 + CHOICES + len(LEAST_OVERLAPS) * TRIALS * 4
"""Random numbers that `patch` takes."""


def fitted(canvas: Window, out: tuple[int, int], spec: InputSpec) -> Window:
    """What of a canvas is brought to an input of `out` (height, width) without augmentation."""
    x, y, width, height = canvas
    if spec.resize != "crop":
        return canvas
    scale = max(out[0] / height, out[1] / width) / spec.crop_fraction
    return x + (width - out[1] / scale) / 2.0, y + (height - out[0] / scale) / 2.0, out[1] / scale, out[0] / scale


def zoomed_out(draws: np.ndarray, options: AugmentSettings, size: tuple[int, int]) -> Window:
    """The canvas, whole pixels, in which an image of `size` (height, width) lies at a random place; or the image alone.

    Args:
        draws: [4] in [0, 1): whether, the factor on its sides, and where the image lies (x, y).
        options: their `zoom_out` and `zoom_out_probability`.
        size: of the image, pixels.
    """
    height, width = size
    if draws[0] >= options.zoom_out_probability:
        return 0.0, 0.0, float(width), float(height)
    least, most = options.zoom_out
    factor = least + draws[1] * (most - least)
    sides = round(factor * width), round(factor * height)
    left, top = (
        math.floor(draw * (long - short + 1)) for draw, long, short in zip(draws[2:], sides, (width, height), strict=True)
    )
    return float(-left), float(-top), float(sides[0]), float(sides[1])


def crop(draws: np.ndarray, options: AugmentSettings, canvas: Window, out: tuple[int, int], spec: InputSpec) -> Window:
    """A window of a canvas, drawn from `draws` [6] by area, aspect and translation; it may reach beyond the canvas."""
    x, y, width, height = fitted(canvas, out, spec)
    if (options.crop_area, options.crop_aspect) != ((1.0, 1.0), (1.0, 1.0)):
        left, top, *size = canvas
        fraction = options.crop_area[0] + draws[0] * (options.crop_area[1] - options.crop_area[0])
        low, high = map(math.log, options.crop_aspect)
        ratio = width / height * math.exp(low + draws[1] * (high - low))
        area = fraction * size[1] * size[0]
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if fraction <= 1.0:  # the largest window of that shape, where the drawn one does not fit into the canvas
            within = min(1.0, size[0] / width, size[1] / height)
            width, height = width * within, height * within
        x, y = left + draws[2] * (size[0] - width), top + draws[3] * (size[1] - height)
    shift_x, shift_y = (options.translate * (2.0 * draw - 1.0) for draw in draws[4:6])
    return x + shift_x * width, y + shift_y * height, width, height


def patch(draws: np.ndarray, probability: float, canvas: Window, boxes: np.ndarray) -> Window | None:
    """SSD's patch of a canvas, whole pixels; None for the whole canvas.

    The choices are taken in a random order, until for one of them a patch is found. A patch shows the centre of an object
    that it has the choice's least IoU with.

    Args:
        draws: [PATCH_DRAWS] in [0, 1).
        probability: that there is a choice at all.
        canvas: the window that a patch is a part of, whole pixels.
        boxes: float [n, 4] of the objects, original pixels; without any, no patch is found.
    """
    if draws[0] >= probability:
        return None
    trials = draws[1 + CHOICES :].reshape(len(LEAST_OVERLAPS), TRIALS, 1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    for choice in np.argsort(draws[1 : 1 + CHOICES], kind="stable"):
        if choice == len(LEAST_OVERLAPS):
            break
        patches, upright = _patches(trials[choice], canvas)
        shown = np.all((patches[..., :2] < centres) & (centres < patches[..., 2:]), axis=-1)
        met = shown & (overlaps(patches, boxes) >= LEAST_OVERLAPS[choice])
        found = np.flatnonzero(met.any(axis=1) & upright)
        if len(found):
            x1, y1, x2, y2 = map(float, patches[found[0], 0])
            return x1, y1, x2 - x1, y2 - y1
    return None


def _patches(draws: np.ndarray, canvas: Window) -> tuple[np.ndarray, np.ndarray]:
    """Draws [t, 1, 4] of width, height and place -> patches float [t, 1, 4], x1 y1 x2 y2; bool [t], right in aspect."""
    start, size = np.array(canvas[:2]), np.array(canvas[2:])
    sides = np.maximum(np.round((SIDES[0] + draws[..., :2] * (SIDES[1] - SIDES[0])) * size), 1.0)
    first = start + np.floor(draws[..., 2:] * (size - sides + 1.0))
    aspects = (sides[..., 0] / sides[..., 1])[:, 0]
    return np.concatenate([first, first + sides], axis=-1), (aspects >= ASPECTS[0]) & (aspects <= ASPECTS[1])
