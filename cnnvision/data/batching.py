"""All padding: rows of any size and number become a batch of fixed shapes, in which everything padded is marked as such."""

from collections.abc import Sequence

import numpy as np

from cnnvision.data.augment import Row
from cnnvision.data.augment.resampling import resize
from cnnvision.data.maps.borders import border_weights, connected_cells
from cnnvision.errors import ConfigError
from cnnvision.inputs import MASKS_CURE, InputSpec
from cnnvision.ops.geometry import touched
from cnnvision.types import IGNORE, Batch, ClassTarget, ObjectTarget, Regions, SemanticTarget

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
"""Transform of rows without an example: it has an inverse."""


def make_batch(rows: Sequence[Row | None], spec: InputSpec, size: tuple[int, int]) -> tuple[Batch, int]:
    """Puts rows into one batch.

    Args:
        rows: one for each row of the batch; None where there is no example, or none that could be read.
        spec: which target to fill, and how many objects at most.
        size: (height, width) of the input, pixels; no row's image may be larger.

    Returns:
        The batch, of NumPy arrays. Images lie at the top left; what is padded is 0 (IGNORE in semantic maps).
        How many objects were left out because they were more than `spec.max_objects` (the smallest go first), or because no
        pixel of their mask was left (`Row.lost`).

    Raises:
        ConfigError: the examples do not have what the spec asks for.
        ValueError: an image is larger than `size`.
    """
    count = len(rows)
    image = np.zeros((count, *size, 3), np.uint8)
    sizes = np.zeros((count, 2), np.int32)
    valid = np.zeros(count, bool)
    index = np.zeros(count, np.int32)
    transform = np.tile(IDENTITY, (count, 1, 1))
    core = np.zeros((count, 4), np.int32)
    for i, row in enumerate(rows):
        if row is None:
            continue
        height, width = row.image.shape[:2]
        if height > size[0] or width > size[1]:
            raise ValueError(f"make_batch: row {i} is {(height, width)} pixels, more than the input's {tuple(size)}")
        image[i, :height, :width] = row.image
        sizes[i], valid[i], index[i], transform[i] = (height, width), True, row.index, row.transform
        core[i] = row.core or (0, 0, width, height)
    target, dropped = _TARGETS[spec.target](rows, spec, size) if spec.target else (None, 0)
    proposals = _proposals(rows, spec.proposals.most) if spec.proposals else None
    fields = dict(image=image, size=sizes, valid=valid, index=index, transform=transform, core=core)
    return Batch(**fields, target=target, proposals=proposals), dropped


def _proposals(rows: Sequence[Row | None], most: int) -> Regions:
    regions = Regions(boxes=np.zeros((len(rows), most, 4), np.float32), valid=np.zeros((len(rows), most), bool))
    for i, row in enumerate(rows):
        if row is None:
            continue
        if row.proposals is None:
            raise ConfigError("this model looks at proposals, and the examples have none: open the data `with_proposals`.")
        boxes = row.proposals[:most]
        regions.boxes[i, : len(boxes)], regions.valid[i, : len(boxes)] = boxes, True
    return regions


def empty_batch(spec: InputSpec, batch_size: int) -> Batch:
    """A batch of the declared shape (the first size) without a valid row: for shapes, compilation and initialisation."""
    return make_batch([None] * batch_size, spec, spec.sizes[0])[0]


def _class_target(rows: Sequence[Row | None], spec: InputSpec, size: tuple[int, int]) -> tuple[ClassTarget, int]:
    labels = [None if row is None else row.label for row in rows]
    valid = np.array([label is not None for label in labels])
    return ClassTarget(labels=np.array([label or 0 for label in labels], np.int32), valid=valid), 0


def _object_target(rows: Sequence[Row | None], spec: InputSpec, size: tuple[int, int]) -> tuple[ObjectTarget, int]:
    most = 1 if spec.objects == "largest" else spec.max_objects
    side, dropped = spec.mask_side, 0
    target = ObjectTarget(
        boxes=np.zeros((len(rows), most, 4), np.float32),
        labels=np.zeros((len(rows), most), np.int32),
        valid=np.zeros((len(rows), most), bool),
        crowd=np.zeros((len(rows), most), bool),
        masks=np.zeros((len(rows), most, side, side), bool) if side else None,
    )
    for i, row in enumerate(rows):
        if row is None:
            continue
        chosen, left_out = _choose(row, spec)
        dropped += left_out + row.lost
        count, objects = len(chosen), row.objects
        target.boxes[i, :count] = objects.boxes[chosen]
        target.labels[i, :count] = objects.labels[chosen]
        target.crowd[i, :count] = objects.crowd[chosen]
        target.valid[i, :count] = True
        for j, k in enumerate(chosen if side else ()):
            target.masks[i, j] = crop_mask(objects.masks[k], objects.boxes[k], side)
    return target, dropped


def _choose(row: Row, spec: InputSpec) -> tuple[np.ndarray, int]:
    """Which of a row's objects go into the batch, in the row's order, and how many do not for want of room."""
    if row.objects is None:
        raise ConfigError("this model learns boxes, and the data have none: take a source with boxes, or a classifier.")
    if spec.mask_side and row.objects.masks is None and len(row.objects.boxes):
        raise ConfigError(f"this model learns instance masks, and the data have none. {MASKS_CURE}")
    if spec.objects == "largest":
        return np.array([] if row.largest is None else [row.largest], np.int64), 0
    count = len(row.objects.boxes)
    by_area = np.argsort(-row.objects.area, kind="stable")
    return np.sort(by_area[: spec.max_objects]), max(0, count - spec.max_objects)


def crop_mask(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """A mask cropped to its own box and resampled.

    Args:
        mask: bool [h, w], input pixels.
        box: [4] x1 y1 x2 y2 of the same image, with area; the mask is cropped to the whole pixels that it touches.
        side: of the result.

    Returns:
        bool [side, side]: where the mask covers at least half of a cell; of a mask too thin for that, at least half as much
        as of the cell that it covers most.
    """
    x1, y1, x2, y2 = touched(box).astype(int)
    covered = resize(mask[y1:y2, x1:x2].astype(np.uint8) * 255, (side, side))
    most = covered.max()
    return covered >= (128 if most >= 128 else max(most / 2, 1))


def _semantic_target(rows: Sequence[Row | None], spec: InputSpec, size: tuple[int, int]) -> tuple[SemanticTarget, int]:
    labels = np.full((len(rows), *size), IGNORE, np.uint8)
    for i, row in enumerate(rows):
        if row is None:
            continue
        if row.semantic is None:
            raise ConfigError("this model learns semantic maps, and the data have none: take a source with maps.")
        labels[i, : row.semantic.shape[0], : row.semantic.shape[1]] = row.semantic
    if spec.border is None:
        return SemanticTarget(labels=labels), 0
    weights = np.zeros(labels.shape, np.float32)
    for i, row in enumerate(rows):
        if row is not None:
            cells = connected_cells(row.semantic, spec.border.background) if row.cells is None else row.cells
            weights[i, : cells.shape[0], : cells.shape[1]] = border_weights(cells, spec.border.w0, spec.border.sigma)
    return SemanticTarget(labels=labels, weights=weights), 0


_TARGETS = {"class": _class_target, "objects": _object_target, "semantic": _semantic_target}


def validate(batch: Batch, num_classes: int, num_semantic_classes: int = 0) -> None:
    """Checks a batch where it enters: dtypes, shapes, ranges. NumPy arrays; a few microseconds an example.

    Args:
        batch: as `make_batch` makes it.
        num_classes: labels of valid images and objects are in [0, num_classes).
        num_semantic_classes: ids of semantic maps are in [0, num_semantic_classes) or IGNORE.

    Raises:
        ValueError: naming the field, the row, what stood there and what is right.
    """
    count, height, width = _shape(batch.image, "image", "uint8", (None, None, None, 3))[:3]
    _shape(batch.size, "size", "int32", (count, 2))
    _shape(batch.valid, "valid", "bool", (count,))
    _shape(batch.index, "index", "int32", (count,))
    _shape(batch.transform, "transform", "float32", (count, 2, 3))
    _check(np.isfinite(batch.transform), batch.transform, "transform", "finite")
    least = batch.valid.astype(np.int32)[:, None]
    _check((batch.size >= least) & (batch.size <= [height, width]), batch.size, "size", f"1 … {(height, width)} where valid")
    _check(batch.index >= 0, batch.index, "index", ">= 0")
    _shape(batch.core, "core", "int32", (count, 4))
    ends = np.concatenate([batch.core[:, 2:], batch.core[:, 2:]], axis=1)
    inside = (batch.core >= 0) & (batch.core <= ends) & (ends <= [width, height] * 2)
    _check(inside, batch.core, "core", "whole pixels x1 <= x2, y1 <= y2 within the input")
    if batch.proposals is not None:
        most = _shape(batch.proposals.boxes, "proposals.boxes", "float32", (count, None, 4))[1]
        _shape(batch.proposals.valid, "proposals.valid", "bool", (count, most))
        _check_boxes(batch.proposals.boxes, batch.proposals.valid, (height, width), "proposals.boxes")
    target = batch.target
    if isinstance(target, ClassTarget):
        _shape(target.labels, "target.labels", "int32", (count,))
        _shape(target.valid, "target.valid", "bool", (count,))
        _check_labels(target.labels, target.valid, num_classes)
    elif isinstance(target, ObjectTarget):
        _validate_objects(target, count, (height, width), num_classes)
    elif isinstance(target, SemanticTarget):
        _shape(target.labels, "target.labels", "uint8", (count, height, width))
        right = (target.labels < num_semantic_classes) | (target.labels == IGNORE)
        _check(right, target.labels, "target.labels", f"in [0, {num_semantic_classes}) or {IGNORE}")
        if target.weights is not None:
            _shape(target.weights, "target.weights", "float32", (count, height, width))
            _check((target.weights >= 0) & np.isfinite(target.weights), target.weights, "target.weights", "finite, >= 0")
    elif target is not None:
        raise ValueError(f"batch.target: a {type(target).__name__} is no target")


def _validate_objects(target: ObjectTarget, count: int, size: tuple[int, int], num_classes: int) -> None:
    most = _shape(target.boxes, "target.boxes", "float32", (count, None, 4))[1]
    for name, dtype in (("labels", "int32"), ("valid", "bool"), ("crowd", "bool")):
        _shape(getattr(target, name), f"target.{name}", dtype, (count, most))
    if target.masks is not None:
        side = _shape(target.masks, "target.masks", "bool", (count, most, None, None))[2]
        _shape(target.masks, "target.masks", "bool", (count, most, side, side))
    _check_boxes(target.boxes, target.valid, size, "target.boxes")
    _check(~target.crowd | target.valid, target.crowd, "target.crowd", "False where not valid")
    _check_labels(target.labels, target.valid, num_classes)


def _check_boxes(boxes: np.ndarray, valid: np.ndarray, size: tuple[int, int], name: str) -> None:
    some, limits = valid[..., None], np.array([size[1], size[0], size[1], size[0]], np.float32)
    _check(np.isfinite(boxes), boxes, name, "finite")
    _check((boxes[..., :2] < boxes[..., 2:]) | ~some, boxes[..., 2:], name, "x1 < x2 and y1 < y2 where valid")
    _check((boxes >= 0) & (boxes <= limits) | ~some, boxes, name, f"within the input, {size} pixels")


def _check_labels(labels: np.ndarray, valid: np.ndarray, num_classes: int) -> None:
    _check(((labels >= 0) & (labels < num_classes)) | ~valid, labels, "target.labels", f"in [0, {num_classes}) where valid")


def _shape(array: np.ndarray, name: str, dtype: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The array's shape; raises where the dtype or a length that is not None differs."""
    found = tuple(np.shape(array))
    same = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found, strict=True))
    kind = str(getattr(array, "dtype", type(array).__name__))
    if not same or kind != dtype:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"batch.{name}: {kind} {found}, must be {dtype} ({wanted})")
    return found


def _check(right: np.ndarray, values: np.ndarray, name: str, rule: str) -> None:
    if not right.all():
        position = tuple(int(i) for i in np.argwhere(~right)[0])
        raise ValueError(f"batch.{name}: {values[position]} at {position}, must be {rule}")
