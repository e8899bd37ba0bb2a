"""From an example in original pixels to a row in input pixels, through one affine map.

Without augmentation the map is the *fit*: how an image is brought to an input size ("stretch", "letterbox", "crop", see
`inputs.InputSpec`). Augmentation draws another window of the original to be fitted (crops.py), mirrors it, turns it, and
changes its colours. Image, boxes, masks and semantic maps all go through the map that the batch reports.
"""

import dataclasses
import math

import cv2
import numpy as np

from cnnvision.data.augment.crops import PATCH_DRAWS, Window, crop, fitted, patch, zoomed_out
from cnnvision.data.augment.photometric import UNCHANGED, Colours
from cnnvision.data.augment.resampling import Rectangle, place_image, place_maps, warp_image, warp_maps
from cnnvision.data.options import AugmentSettings
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import clip_boxes, map_boxes, tight_boxes
from cnnvision.types import IGNORE, Example, Objects

TRIES = 10
"""Geometries that are drawn in search of one that keeps the object that must stay, before the image is left whole."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """All that is done to one example.

    Attributes:
        source: the rectangle of the original, whole pixels, that is brought onto `target`.
        target: rectangle of the result, whole pixels; the rest of the result is filled.
        size: (height, width) of the result: the part of the input that is image.
        flip: mirrors left and right.
        flip_vertical: mirrors top and bottom.
        angle: turns the result about its centre, degrees, clockwise as seen.
        colours: the change of colours.
        fill: RGB of what lies outside the image.
        by_centre: an object stays where its centre is visible, whatever share of its box is.
    """

    source: Rectangle
    target: Rectangle
    size: tuple[int, int]
    flip: bool = False
    flip_vertical: bool = False
    angle: float = 0.0
    colours: Colours = UNCHANGED
    fill: tuple[int, int, int] = (0, 0, 0)
    by_centre: bool = False

    @property
    def transform(self) -> np.ndarray:
        """Float64 [2, 3]: (x, y, 1) in original pixels -> (x, y) in input pixels."""
        (height, width), (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = self.size, self.source, self.target
        x_scale, y_scale = (tx2 - tx1) / (sx2 - sx1), (ty2 - ty1) / (sy2 - sy1)
        x_offset, y_offset = tx1 - x_scale * sx1, ty1 - y_scale * sy1
        if self.flip:
            x_scale, x_offset = -x_scale, width - x_offset
        if self.flip_vertical:
            y_scale, y_offset = -y_scale, height - y_offset
        upright = np.array([[x_scale, 0.0, x_offset], [0.0, y_scale, y_offset]])
        if not self.angle:
            return upright
        sine, cosine = math.sin(math.radians(self.angle)), math.cos(math.radians(self.angle))
        turn, centre = np.array([[cosine, -sine], [sine, cosine]]), np.array([width / 2.0, height / 2.0])
        turned = turn @ upright
        turned[:, 2] += centre - turn @ centre
        return turned


@dataclasses.dataclass(frozen=True)
class Row:
    """One example in input pixels, before padding: what becomes one row of a batch.

    Attributes:
        index: position of the example in its source's `ids`.
        image: uint8 [h, w, 3], the part of the input that is image.
        transform: float32 [2, 3], original -> input pixels.
        label: class of the image: the source's, else that of the largest object of the original; None without either.
        objects: those that are visible, in input pixels (masks bool [n, h, w]); None where the source has no boxes.
        largest: position among `objects` of the largest object of the original; None where it is not visible.
        semantic: uint8 [h, w] or None.
        cells: int32 [h, w], 0 or which object a pixel belongs to, where weights of borders are asked for; or None.
        core: x1 y1 x2 y2, whole pixels: the part whose predictions are kept; None for all of the image.
        proposals: float32 [p, 4] in input pixels, those that are visible; None where the example has none.
        lost: objects that are not among `objects` because no pixel of their mask is left, though enough of their box is.
    """

    index: int
    image: np.ndarray
    transform: np.ndarray
    label: int | None = None
    objects: Objects | None = None
    largest: int | None = None
    semantic: np.ndarray | None = None
    cells: np.ndarray | None = None
    core: Rectangle | None = None
    proposals: np.ndarray | None = None
    lost: int = 0


def resized(size: tuple[int, int], out: tuple[int, int], spec: InputSpec) -> Augmentation:
    """The fit alone: what evaluation does to an image of `size` (height, width) for an input of `out` (height, width)."""
    return _placed(fitted((0.0, 0.0, float(size[1]), float(size[0])), out, spec), size, out, spec)


def sample(
    rng: np.random.Generator,
    options: AugmentSettings,
    size: tuple[int, int],
    out: tuple[int, int],
    spec: InputSpec,
    keep: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> Augmentation:
    """Draws one augmentation.

    What one option draws does not depend on the other options.

    Args:
        rng: of this example and epoch (`order.example_rng`).
        options: which changes, and how strong.
        size: (height, width) of the original image, pixels.
        out: (height, width) of the network's input, pixels.
        spec: its `fit` and `crop_fraction`.
        keep: a box [4], original pixels, that has to stay visible (`options.min_visible` of it, or its centre): the
            geometry is drawn again up to `TRIES` times, then left at the plain fit.
        boxes: float [n, 4], original pixels, of the objects that `options.iou_crop` cuts around; None for none.
    """
    boxes = np.zeros((0, 4)) if boxes is None else boxes
    draws = rng.random(6)
    common = {
        "flip": bool(draws[0] < options.flip),
        "flip_vertical": bool(draws[1] < options.flip_vertical),
        "colours": draw_colours(2.0 * draws[2:] - 1.0, options),
        "fill": options.fill,
    }
    # An option's draws are always taken, or come after all others': another option leaves them as they are.
    for geometry, zoom in zip(rng.random((TRIES, 7)), rng.random((TRIES, 4)), strict=True):
        canvas = zoomed_out(zoom, options, size)
        cut = patch(rng.random(PATCH_DRAWS), options.iou_crop, canvas, boxes) if options.iou_crop else None
        window = cut or crop(geometry[:6], options, canvas, out, spec)
        angle = options.rotate * (2.0 * geometry[6] - 1.0)
        placed = _placed(window, size, out, spec)
        drawn = dataclasses.replace(placed, angle=angle, by_centre=cut is not None, **common)
        if keep is None or _visible(keep[None], drawn, max(options.min_visible, 1e-6))[1][0]:
            return drawn
    return dataclasses.replace(resized(size, out, spec), **common)


def draw_colours(draws: np.ndarray, options: AugmentSettings) -> Colours:
    """The change of colours from four draws in [−1, 1]."""
    brightness, contrast, saturation, hue = draws
    return Colours(
        brightness=1.0 + options.brightness * brightness,
        contrast=1.0 + options.contrast * contrast,
        saturation=1.0 + options.saturation * saturation,
        hue=options.hue * hue,
    )


def _placed(window: Window, size: tuple[int, int], out: tuple[int, int], spec: InputSpec) -> Augmentation:
    """The map that brings a window to the input: rounded to whole pixels on both sides."""
    x, y, width, height = window
    if spec.resize == "letterbox":
        scale = min(out[0] / height, out[1] / width)
        out = tuple(min(most, max(1, round(length * scale))) for most, length in zip(out, (height, width), strict=True))
    sx1, sx2, tx1, tx2 = _along_axis(x, width, size[1], out[1])
    sy1, sy2, ty1, ty2 = _along_axis(y, height, size[0], out[0])
    return Augmentation(source=(sx1, sy1, sx2, sy2), target=(tx1, ty1, tx2, ty2), size=out)


def _along_axis(start: float, length: float, image: int, out: int) -> tuple[int, int, int, int]:
    """What of [start, start + length) lies in an image of `image` pixels, and where in `out` pixels it goes."""
    first = min(max(round(start), 0), image - 1)
    last = min(max(round(start + length), first + 1), image)
    scale = out / length
    left = min(max(round((first - start) * scale), 0), out - 1) if start < 0 else 0
    right = min(max(round((last - start) * scale), left + 1), out) if start + length > image else out
    return first, last, left, right


def _visible(boxes: np.ndarray, augmentation: Augmentation, min_visible: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] in original pixels -> those in input pixels, float32, clipped; and which of them stay, bool [n]."""
    mapped = map_boxes(boxes, augmentation.transform)
    clipped = clip_boxes(mapped, augmentation.size).astype(np.float32)
    some = np.all(clipped[:, :2] < clipped[:, 2:], axis=1)
    if augmentation.by_centre:
        centres = (mapped[:, :2] + mapped[:, 2:]) / 2.0
        return clipped, some & np.all((centres > 0.0) & (centres < np.array(augmentation.size[::-1])), axis=1)
    areas = [np.prod(np.maximum(b[:, 2:] - b[:, :2], 0.0), axis=1, dtype=np.float64) for b in (mapped, clipped)]
    return clipped, some & (areas[1] / np.maximum(areas[0], 1e-12) >= min_visible)


def apply(augmentation: Augmentation, example: Example, index: int, min_visible: float = 0.25) -> Row:
    """Takes an example through an augmentation.

    Args:
        augmentation: drawn for an image of the example's size.
        example: with its image; it is left as it is.
        index: its position in the source's `ids`.
        min_visible: objects and proposals of which less than this fraction of the box stays visible are left out; where the
            augmentation keeps them `by_centre`, those whose centre does not.
    """
    largest = example.objects.largest() if example.objects is not None else None
    label = example.label
    if label is None and largest is not None:
        label = int(example.objects.labels[largest])
    objects, position, lost = None, None, 0
    if example.objects is not None:
        objects, kept, lost = _apply_objects(augmentation, example.objects, min_visible)
        found = np.flatnonzero(kept == largest) if largest is not None else ()
        position = int(found[0]) if len(found) else None
    proposals = example.proposals
    if proposals is not None:
        boxes, stays = _visible(proposals, augmentation, min_visible)
        proposals = boxes[stays]
    return Row(
        index=index,
        image=_apply_image(augmentation, example.image),
        transform=augmentation.transform.astype(np.float32),
        label=label,
        objects=objects,
        largest=position,
        semantic=None if example.semantic is None else _apply_maps(augmentation, example.semantic, IGNORE),
        cells=None if example.cells is None else _apply_maps(augmentation, example.cells, 0),
        proposals=proposals,
        lost=lost,
    )


def _apply_image(augmentation: Augmentation, image: np.ndarray) -> np.ndarray:
    size, fill, recolour = augmentation.size, augmentation.fill, augmentation.colours.apply
    if augmentation.angle:
        return warp_image(image, augmentation.transform, size, fill, recolour)
    image = place_image(image, augmentation.source, augmentation.target, size, fill, recolour)
    if augmentation.flip or augmentation.flip_vertical:
        image = cv2.flip(image, (-1 if augmentation.flip_vertical else 1) if augmentation.flip else 0)
    return image


def _apply_maps(augmentation: Augmentation, maps: np.ndarray, fill: int) -> np.ndarray:
    if augmentation.angle:
        return warp_maps(maps, augmentation.transform, augmentation.size, fill)
    maps = place_maps(maps, augmentation.source, augmentation.target, augmentation.size, fill)
    maps = maps[..., ::-1] if augmentation.flip else maps
    return maps[..., ::-1, :] if augmentation.flip_vertical else maps


def _apply_objects(augmentation: Augmentation, objects: Objects, min_visible: float) -> tuple[Objects, np.ndarray, int]:
    """The visible objects, their positions int [n] among all, and how many others have lost their mask."""
    boxes, stays = _visible(objects.boxes, augmentation, min_visible)
    kept = np.flatnonzero(stays)
    boxes, masks, visible = boxes[kept], None, len(kept)
    if objects.masks is not None:
        masks = _apply_maps(augmentation, objects.masks[kept], 0)
        some = masks.any(axis=(1, 2))
        kept, masks, tight = kept[some], masks[some], tight_boxes(masks[some])
        # An annotated box tells fractions of a pixel that a mask does not. Where a crop or a turn has moved the rim of what
        # is visible, or the box never fitted its mask, it is the mask's.
        fits = np.all(np.abs(boxes[some] - tight) < 1, axis=1, keepdims=True)
        boxes = np.where(fits, boxes[some], tight)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return Objects(boxes, objects.labels[kept], objects.crowd[kept], area, masks), kept, visible - len(kept)
