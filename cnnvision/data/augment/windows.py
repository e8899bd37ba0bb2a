"""Parts of images at their own resolution, for dense prediction: `resize` "tile".

Evaluation cuts an image into overlapping tiles (Ronneberger et al. 2015, figure 2): predictions are kept in a tile's core,
and the margin around it is context. Training draws one window an image and epoch, moved, turned, zoomed and bent. What lies
beyond the image is its mirror image, the edge pixel not repeated; nothing is learnt there and nothing predicted (IGNORE).
"""

import dataclasses
import math

import cv2
import numpy as np

from cnnvision.data.augment import Row, draw_colours
from cnnvision.data.augment.photometric import UNCHANGED, Colours
from cnnvision.data.augment.resampling import Rectangle
from cnnvision.data.maps.borders import connected_cells
from cnnvision.data.options import AugmentSettings
from cnnvision.errors import DataError
from cnnvision.inputs import InputSpec
from cnnvision.ops.geometry import invert
from cnnvision.types import IGNORE, Example, Source

Tile = tuple[int, int]
"""(x, y) of a tile's upper left corner in original pixels; it may be negative."""


def tiles(size: tuple[int, int], spec: InputSpec) -> list[Tile]:
    """The tiles whose cores cover an image of `size` (height, width), row by row."""
    starts = []
    for length, side in zip(size, spec.sizes[0], strict=True):
        core = (side - 2 * spec.margin) // spec.tile_step * spec.tile_step
        starts.append([start - spec.margin for start in range(0, length, core)])
    return [(x, y) for y in starts[0] for x in starts[1]]


def all_tiles(source: Source, spec: InputSpec) -> tuple[tuple[int, Tile], ...]:
    """(index, tile) for every tile of every example, in the order of the ids; an unreadable one gets a tile to fail in."""
    found = []
    for index in range(len(source)):
        try:
            size = source.read(index, image=False).size
        except (DataError, OSError):
            size = (1, 1)
        found += [(index, tile) for tile in tiles(size, spec)]
    return tuple(found)


def core_of(tile: Tile, size: tuple[int, int], spec: InputSpec) -> Rectangle:
    """x1 y1 x2 y2 in the tile's pixels: where its predictions are kept, within an image of `size` (height, width)."""
    ends = []
    for start, length, side in zip(tile, size[::-1], spec.sizes[0][::-1], strict=True):
        core = (side - 2 * spec.margin) // spec.tile_step * spec.tile_step
        ends.append(min(spec.margin + core, length - start))
    return spec.margin, spec.margin, ends[0], ends[1]


def mirrored(positions: np.ndarray, length: int) -> np.ndarray:
    """Positions along an axis, any integers -> those within [0, length) that are shown there."""
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    positions = np.abs(positions) % period
    return np.minimum(positions, period - positions)


def cut_tile(tile: Tile, example: Example, index: int, spec: InputSpec) -> Row:
    """One tile of an example; its labels are IGNORE outside the core, so that each pixel counts once."""
    (x, y), (height, width), out = tile, example.size, spec.sizes[0]
    rows, columns = mirrored(np.arange(y, y + out[0]), height), mirrored(np.arange(x, x + out[1]), width)
    core, semantic = core_of(tile, example.size, spec), None
    if example.semantic is not None:
        x1, y1, x2, y2 = core
        semantic = np.full(out, IGNORE, np.uint8)
        semantic[y1:y2, x1:x2] = example.semantic[y + y1 : y + y2, x + x1 : x + x2]
    transform = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y]], np.float32)
    cells = None
    if spec.border is not None and example.semantic is not None:
        cells = cells_of(example, spec)[rows[:, None], columns]  # also beyond the core, where they weigh on its pixels
    image = example.image[rows[:, None], columns]
    return Row(index, image, transform, semantic=semantic, cells=cells, core=core)


def cells_of(example: Example, spec: InputSpec) -> np.ndarray:
    """int32 [H, W], 0 or which cell: the objects where the source knows them, else connected components."""
    return connected_cells(example.semantic, spec.border.background) if example.cells is None else example.cells


@dataclasses.dataclass(frozen=True)
class Window:
    """What is done to an example to make a training row of it.

    Attributes:
        transform: float64 [2, 3], original -> input pixels: turned, mirrored and zoomed, before it is bent.
        size: (height, width) of the input.
        bend: float [n, n, 2] displacements (dx, dy) in input pixels at an even grid over the input, or None.
        colours: the change of colours.
    """

    transform: np.ndarray
    size: tuple[int, int]
    bend: np.ndarray | None = None
    colours: Colours = UNCHANGED


def sample_window(
    rng: np.random.Generator, options: AugmentSettings, size: tuple[int, int], out: tuple[int, int], lost: int = 0
) -> Window:
    """Draws one training window.

    What one option draws does not depend on the other options.

    Args:
        rng: of this example and epoch (`order.example_rng`).
        options: which changes, and how strong; those of crop area, aspect and translation have no meaning here.
        size: (height, width) of the original image, pixels.
        out: (height, width) of the network's input, pixels.
        lost: of them, at each side, those without an output (`InputSpec.lost`).
    """
    draws = rng.random(12)
    low, high = map(math.log, options.zoom)
    zoom = math.exp(low + draws[2] * (high - low))
    turns = int(4 * draws[4]) * options.quarter_turns
    angle = options.rotate * (2.0 * draws[3] - 1.0) + 90.0 * turns
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    if angle % 90.0 == 0.0:  # exact, so that pixels fall on pixels
        sine, cosine = round(sine), round(cosine)
    mirror = np.diag([-1.0 if draws[0] < options.flip else 1.0, -1.0 if draws[1] < options.flip_vertical else 1.0])
    linear = zoom * np.array([[cosine, -sine], [sine, cosine]]) @ mirror
    # The middle lies where all outputs of a window of this zoom and these quarter turns are of the image, as far as there is
    # enough of it.
    output = [(side - 2 * lost) / zoom for side in (out if turns % 2 else out[::-1])]
    middle = [_middle(*axis) for axis in zip(draws[5:7], output, size[::-1], strict=True)]
    offset = np.array(out[::-1]) / 2.0 - linear @ np.array(middle)
    bend = rng.normal(0.0, 1.0, (options.elastic_grid, options.elastic_grid, 2)) * options.elastic
    return Window(
        transform=np.concatenate([linear, offset[:, None]], axis=1),
        size=out,
        bend=bend if options.elastic else None,
        colours=draw_colours(2.0 * draws[8:12] - 1.0, options),
    )


def _middle(draw: float, window: float, length: int) -> float:
    """The middle of a window of `side` pixels along an image of `length`: one within the other, begun at a whole pixel."""
    room = length - window
    return window / 2.0 + math.copysign(math.floor(draw * (math.floor(abs(room)) + 1)), room)


def cut_window(window: Window, example: Example, index: int, spec: InputSpec) -> Row:
    """One training row of an example, with its image; what was not part of the image is IGNORE."""
    x, y = _places(window)
    # Only what is sampled: OpenCV takes no side beyond 32,766 pixels.
    part = tuple(_sampled(axis, length) for axis, length in zip((y, x), example.size, strict=True))
    y, x = (np.subtract(axis, cut.start, dtype=np.float32) for axis, cut in zip((y, x), part, strict=True))
    image = cv2.remap(example.image[part], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    image = window.colours.apply(image)
    ids = lambda maps, fill: cv2.remap(maps[part], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    semantic = None if example.semantic is None else ids(example.semantic, IGNORE)
    cells = None
    if spec.border is not None and semantic is not None:
        # As float32, which holds every count of cells exactly; OpenCV does not resample int32.
        cells = ids(cells_of(example, spec).astype(np.float32), 0).astype(np.int32)
    return Row(index, image, window.transform.astype(np.float32), semantic=semantic, cells=cells)


def _sampled(positions: np.ndarray, length: int) -> slice:
    """Which pixels of an axis of `length` bilinear samples at `positions` touch, and those whose mirror images they do."""
    low, high = math.floor(positions.min()) - 1, math.ceil(positions.max()) + 2
    first = min(low, 2 * (length - 1) - high) if high > length else low
    last = max(high, 1 - low) if low < 0 else high
    return slice(max(first, 0), min(last, length))


def _places(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """float64 (x, y), each [height, width]: where each input pixel comes from, counted from pixel centres as OpenCV does."""
    height, width = window.size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    if window.bend is not None:
        dx, dy = (_spread(window.bend[..., i], window.size) for i in (0, 1))
        x, y = x + dx, y + dy
    back = invert(window.transform)
    original = back[:, :2] @ np.stack([x.ravel(), y.ravel()]) + back[:, 2:] - 0.5
    return tuple(axis.reshape(height, width) for axis in original)


def _spread(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values at an even grid from edge to edge -> one a pixel, by bicubic interpolation."""
    along = [_cubic(len(grid), side) for side in size]
    return along[0] @ grid @ along[1].T


def _cubic(knots: int, count: int) -> np.ndarray:
    """float [count, knots]: weights of Keys' cubic convolution (a = −1/2); knots beyond the ends repeat the last."""
    position = (np.arange(count) + 0.5) / count * (knots - 1)
    first = np.minimum(position.astype(int), knots - 2)
    t = position - first
    near = [
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    ]
    weights = np.zeros((count, knots))
    for shift, weight in enumerate(near):
        np.add.at(weights, (np.arange(count), np.clip(first + shift - 1, 0, knots - 1)), weight)
    return weights
