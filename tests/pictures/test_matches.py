"""Pictures of what stands for which object."""

import numpy as np

from cnnvision.pictures import drawing
from cnnvision.pictures.matches import LEAST, draw_matches
from cnnvision.task import Matched
from cnnvision.types import Batch, ObjectTarget


def test_each_object_has_its_colour_and_so_has_what_stands_for_it():
    """Of two objects the first has a cell and a box; the second is lost."""
    target = ObjectTarget(
        boxes=np.array([[[0, 0, 32, 32], [40, 40, 60, 60]]], np.float32),
        labels=np.array([[0, 1]], np.int32),
        valid=np.ones((1, 2), bool),
        crowd=np.zeros((1, 2), bool),
    )
    fields = dict(image=np.zeros((1, 64, 64, 3), np.uint8), size=np.array([[64, 64]]), valid=np.ones(1, bool))
    batch = Batch(**fields, index=None, transform=None, core=None, target=target)
    cells = np.array([[[0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 32, 64], [32, 32, 64, 64]]], np.float32)
    first = np.array([[True, False, False, False]])
    matched = {
        "cells": Matched(cells, np.zeros((1, 4), np.int32), first),
        "boxes": Matched(cells + 4, np.zeros((1, 4), np.int32), first),
    }
    both = draw_matches(batch, matched, ("cat", "dog"))
    without = draw_matches(batch, {"boxes": matched["boxes"]}, ("cat", "dog"))
    scale = LEAST // 64
    at = lambda picture, x, y: tuple(picture[8 + y * scale + scale // 2, 8 + x * scale + scale // 2].tolist())
    tint = tuple(round(0.45 * value) for value in drawing.colour(0))
    assert np.abs(np.subtract(at(both, 8, 25), tint)).max() <= 2 and at(without, 8, 25) == (0, 0, 0)  # within the cell
    colours = lambda picture: {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert {drawing.colour(0), drawing.colour(1)} <= colours(both)
    nothing = Batch(**{**fields, "valid": np.zeros(1, bool)}, index=None, transform=None, core=None, target=target)
    assert draw_matches(nothing, matched, ("cat", "dog")).ndim == 3
