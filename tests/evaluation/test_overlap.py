"""evaluation/overlap.py: IoU of masks and boundaries against whole images eroded step by step."""

import numpy as np
import pytest

from cnnvision.evaluation.overlap import LEAST, boundary, boundary_overlaps, code_of_plane, code_of_runs, mask_overlaps
from tests.reference import boundary as slow


def blob(rng, size):
    """A union of boxes and ellipses with a hole, anywhere: inside, cut off by the image, over all of it."""
    rows, columns = np.indices(size)
    mask = np.zeros(size, bool)
    for kind in rng.integers(0, 3, int(rng.integers(1, 4))):
        (y, x), (h, w) = rng.uniform(-0.1, 1.0, 2) * size, rng.uniform(0.05, 1.2, 2) * size
        if kind:
            mask |= (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
        else:
            mask |= ((rows - y) / h) ** 2 + ((columns - x) / w) ** 2 < 0.25
    y, x = rng.integers(0, size)
    mask[y : y + 3, x : x + 2] = False
    return mask


@pytest.mark.parametrize("size", [(12, 9), (60, 80), (150, 210), (7, 300)])
def test_boundaries_are_those_of_erosion_step_by_step(size):
    rng, left = np.random.default_rng(0), 0
    for mask in [*(blob(rng, size) for _ in range(25)), np.ones(size, bool)]:
        if mask.any():
            found, top, start = boundary(code_of_plane(mask))
            whole = np.zeros(size, bool)
            whole[top : top + found.shape[0], start : start + found.shape[1]] = found
            np.testing.assert_array_equal(whole, slow.boundary(mask))
            left += (whole != mask).any()
    assert left > 10 or size[0] < 10


def test_a_boundary_by_hand():
    """A diagonal of 50 pixels: one pixel wide. A 6 × 5 box in the image's corner: a 4 × 3 core is left."""
    mask = np.zeros((30, 40), bool)
    mask[:6, :5] = True
    found, top, left = boundary(code_of_plane(mask))
    assert (top, left) == (0, 0) and found.shape == (6, 5) and found.sum() == 30 - 12
    assert found[0].all() and found[:, 0].all() and not found[1:5, 1:4].any()


def test_iou_is_that_of_whole_images():
    """With crowds, empty masks, and boundaries where the masks do not overlap enough to count."""
    rng, counted = np.random.default_rng(0), 0
    for size in [(30, 40)] * 12 + [(110, 90)] * 12:
        masks = [blob(rng, size) for _ in range(4)] + [np.zeros(size, bool)]
        found = [np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in masks] + [blob(rng, size)]
        crowd = rng.random(5) < 0.3
        codes = [[code_of_plane(mask) for mask in each] for each in (found, masks)]
        each = lambda function, found=found, masks=masks, crowd=crowd: np.array(
            [[function(mine, mask, many) for mask, many in zip(masks, crowd, strict=True)] for mine in found]
        )
        expected = each(slow.mask_iou)
        np.testing.assert_array_equal(mask_overlaps(*codes, crowd), expected)
        of_boundaries = np.where(expected >= LEAST, each(slow.boundary_iou), expected)
        np.testing.assert_array_equal(boundary_overlaps(*codes, crowd), of_boundaries)
        counted += (of_boundaries < expected).sum()
    assert counted > 50


def test_more_masks_than_a_byte_counts():
    codes = [code_of_plane(np.eye(6, dtype=bool))] * 300
    assert (mask_overlaps(codes, codes, np.zeros(300, bool)) == 1).all()


def test_codes_of_runs_and_planes_agree():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = blob(rng, (13, 17)) if rng.random() < 0.8 else np.zeros((13, 17), bool)
        column = mask.T.ravel()
        edges = np.flatnonzero(np.diff(column)) + 1
        runs = np.diff(np.concatenate([[0] * (1 + column[0]), edges, [column.size]]))
        assert code_of_runs(runs, (13, 17)) == code_of_plane(mask)
