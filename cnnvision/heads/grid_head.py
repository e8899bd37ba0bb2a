"""YOLO's grid (Redmon et al. 2016, "You only look once"): an image is divided into S×S cells, and each says which class it
holds and where, with B boxes. Everything but the module is for one image.

Section 2, "Unified detection". A cell's 5·B + K numbers are, for each of its boxes, x, y, √w, √h and a confidence, then K
class probabilities. (x, y) is the box's centre, from the cell's upper left corner, in cells; w and h are shares of the
input's sides. The network gives their roots (section 2.2): an error of the same size matters more in a small box.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnnvision.backbones.darknet import LEAK, leaky_relu
from cnnvision.backbones.layers import Conv, Norm, normal
from cnnvision.errors import ConfigError
from cnnvision.ops.boxes import from_fractions, to_fractions
from cnnvision.ops.grid import Cells, assign, decode, encode, middles, responsible
from cnnvision.settings import Between, Count, Dropout
from cnnvision.task import Matched, Mean
from cnnvision.types import DetectionPrediction, ObjectTarget

START = (0.5, 0.5, 0.5, 0.5, 0.0)
"""What an untrained box predicts: the middle of its cell, a quarter of each of the input's sides, no object."""


@dataclasses.dataclass(frozen=True)
class GridSettings:
    """The grid, and the layers between the backbone's map and it; defaults are the paper's (figure 3)."""

    cells: Annotated[int, Between(1, 1024)] | None = 7  # S; None: each position of the last map is a cell
    boxes: Annotated[int, Between(1, 64)] = 2  # B, of a cell
    convolutions: tuple[tuple[Annotated[int, Between(1, 10**5)], Annotated[int, Between(1, 4)]], ...] = (
        (1024, 1),
        (1024, 2),
        (1024, 1),
        (1024, 1),
    )  # (channels, stride) of 3×3 convolutions after the backbone
    norm: Literal["none", "batch", "group"] = "none"  # of these convolutions
    hidden: tuple[Count, ...] = (4096,)  # widths of the fully connected layers; (): a 1×1 convolution at each cell
    dropout: Dropout = 0.5  # after the first fully connected layer (section 2.2)

    def __post_init__(self):
        if bool(self.hidden) != (self.cells is not None):
            raise ConfigError(
                f"cells = {self.cells}, hidden = {self.hidden}: fully connected layers need a number of cells; without them "
                "each position of the last map is one, and cells must be None"
            )


class GridHead(nn.Module):
    """From one map to the numbers of each cell.

    Attributes: classes: K; settings: see there; dtype: of the arithmetic.
    """

    classes: int
    settings: GridSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], train: bool, valid: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b _ _ d"]:
        """A map -> [b, S, S, 5·B + K], float32; `valid` as in `Backbone`."""
        settings, x = self.settings, features.astype(self.dtype)
        for i, (channels, stride) in enumerate(settings.convolutions):
            bias = settings.norm == "none"
            x = Conv(channels, 3, stride, use_bias=bias, dtype=self.dtype, name=f"conv{i}")(x)
            x = leaky_relu(Norm(settings.norm, dtype=self.dtype, name=f"norm{i}")(x, train, valid))
        # Two layers beside each other, so that a run with other classes can start from this one's boxes.
        start = jnp.tile(jnp.array(START, jnp.float32), settings.boxes)
        layers = {
            "box": (len(start), lambda key, shape, dtype=jnp.float32: jnp.resize(start, shape)),
            "class": (self.classes, nn.initializers.zeros),
        }
        if settings.cells is None:
            x = x.astype(jnp.float32)
            conv = partial(Conv, size=1, use_bias=True, dtype=jnp.float32, kernel_init=normal(0.01))
            found = [conv(numbers, bias_init=bias, name=name)(x) for name, (numbers, bias) in layers.items()]
            return jnp.concatenate(found, axis=-1)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(settings.hidden):
            rectified = normal((2.0 / ((1.0 + LEAK**2) * x.shape[-1])) ** 0.5)
            x = leaky_relu(nn.Dense(width, dtype=self.dtype, kernel_init=rectified, name=f"hidden{i}")(x))
            x = nn.Dropout(settings.dropout, deterministic=not train or i > 0)(x)
        x, side = x.astype(jnp.float32), settings.cells
        dense = partial(nn.DenseGeneral, dtype=jnp.float32, kernel_init=normal(0.01))
        found = [dense((side * side, numbers), bias_init=bias, name=name)(x) for name, (numbers, bias) in layers.items()]
        return jnp.concatenate(found, axis=-1).reshape(x.shape[0], side, side, -1)


class CellOutputs(NamedTuple):
    """What the cells of one image say.

    Attributes:
        boxes: [s, t, B, 4]: x, y from the cell's corner, in cells, and √w, √h of shares of the input's sides.
        confidences: [s, t, B].
        classes: [s, t, K], probabilities of each class, given that the cell holds an object.
    """

    boxes: Array
    confidences: Array
    classes: Array


def split(outputs: Float[Array, "s t d"], boxes: int) -> CellOutputs:
    """The numbers of each cell -> what they are; `boxes` is B."""
    of_boxes = outputs[..., : 5 * boxes].reshape(*outputs.shape[:2], boxes, 5)
    return CellOutputs(of_boxes[..., :4], of_boxes[..., 4], outputs[..., 5 * boxes :])


def grid_terms(
    outputs: Float[Array, "s t d"], cells: Cells, target: ObjectTarget, boxes: int, height: int, width: int
) -> tuple[dict[str, Mean], dict[str, Mean]]:
    """The five sums of equation 3 for one image, each a sum over cells and boxes, and what they show.

    Args:
        outputs: numbers of each cell.
        cells: what each stands for (`assign`).
        target: of this image.
        boxes: B.
        height, width: of the input, pixels.

    Returns:
        Terms "xy" and "wh": squared errors of x, y and of the roots of w, h, of responsible boxes. "object": of the
        responsible boxes' confidence; its target is the IoU that they have now, a constant. "no_object": of all other boxes'
        confidence, whose target is 0. "class": of the class probabilities, in cells with an object. Each counts one image.
        Metrics "responsible_iou": mean IoU of responsible boxes; "lost_objects": share of objects without a cell.
    """
    found = split(outputs, boxes)
    truth = to_fractions(target.boxes, height, width)[cells.object]
    mine, overlaps = lax.stop_gradient(responsible(decode(found.boxes), truth))
    mine = mine & cells.holds[..., None]
    others = ~mine & (cells.holds | cells.empty)[..., None]
    error = jnp.square(found.boxes - encode(truth)[:, :, None])
    one_hot = jax.nn.one_hot(target.labels[cells.object], found.classes.shape[-1])
    of_classes = jnp.sum(jnp.square(found.classes - one_hot), axis=-1)
    total = lambda values, where: Mean(jnp.sum(jnp.where(where, values, 0.0)), jnp.float32(1.0))
    terms = {
        "xy": total(error[..., 0] + error[..., 1], mine),
        "wh": total(error[..., 2] + error[..., 3], mine),
        "object": total(jnp.square(found.confidences - overlaps), mine),
        "no_object": total(jnp.square(found.confidences), others),
        "class": total(of_classes, cells.holds),
    }
    weights = lambda which: which.astype(jnp.float32)
    metrics = {
        "responsible_iou": Mean.of(overlaps, weights(mine)),
        "lost_objects": Mean.of(weights(cells.lost), weights(target.valid & ~target.crowd)),
    }
    return terms, metrics


def matches(
    outputs: Float[Array, "s t d"], cells: Cells, target: ObjectTarget, boxes: int, height: int, width: int
) -> dict[str, Matched]:
    """The cells that have an object, and their responsible boxes as they are now, of one image; arguments: `grid_terms`."""
    found, grid = decode(split(outputs, boxes).boxes), outputs.shape[:2]
    truth = to_fractions(target.boxes, height, width)[cells.object]
    mine = responsible(found, truth)[0] & cells.holds[..., None]
    half = np.array([width / grid[1], height / grid[0]], np.float32) / 2.0
    centre = middles(grid, height, width).reshape(-1, 2)
    squares = jnp.asarray(np.concatenate([centre - half, centre + half], axis=1))
    of_boxes = jnp.broadcast_to(cells.object[..., None], mine.shape).reshape(-1)
    return {
        "cells": Matched(squares, cells.object.reshape(-1), cells.holds.reshape(-1)),
        "responsible boxes": Matched(from_fractions(found, height, width).reshape(-1, 4), of_boxes, mine.reshape(-1)),
    }


def boxes_and_scores(
    outputs: Float[Array, "s t d"], boxes: int, height: int, width: int
) -> tuple[Float[Array, "n 1 4"], Float[Array, "n k"]]:
    """Each box of each cell, the same for all classes, and its class-specific confidences (equation 1): for ops/detections.

    Nothing bounds the numbers of a cell: a confidence or probability below 0 counts as 0, a score above 1 as 1.

    Args:
        outputs: numbers of each cell.
        boxes: B.
        height, width: of the input, pixels.
    """
    found = split(outputs, boxes)
    scores = jnp.maximum(found.confidences, 0.0)[..., None] * jnp.maximum(found.classes, 0.0)[:, :, None]
    scores = jnp.minimum(scores, 1.0).reshape(-1, found.classes.shape[-1])
    in_pixels = from_fractions(decode(found.boxes), height, width).reshape(-1, 1, 4)
    return in_pixels, scores


def ceiling(
    target: ObjectTarget, size: Int[Array, "2"], cells: tuple[int, int], height: int, width: int
) -> DetectionPrediction:
    """The objects of one image that the grid can hold, encoded and decoded again: the best that any YOLO could find.

    Args:
        as for `assign`.

    Returns:
        One detection for each of n objects, its score 1; not valid where the object is lost.
    """
    given = assign(target, size, cells, height, width)
    truth = to_fractions(target.boxes, height, width)[given.object]
    decoded = from_fractions(decode(encode(truth)[:, :, None]), height, width).reshape(-1, 4)
    of_object = (given.object.reshape(-1)[None] == jnp.arange(len(target.labels))[:, None]) & given.holds.reshape(-1)[None]
    kept, boxes = target.valid & ~target.crowd & ~given.lost, decoded[jnp.argmax(of_object, axis=1)]
    return DetectionPrediction(
        jnp.where(kept[:, None], boxes, 0.0), jnp.where(kept, target.labels, 0), kept.astype(jnp.float32), kept
    )
