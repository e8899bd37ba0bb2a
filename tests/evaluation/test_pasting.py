"""Masks put into their images: every pixel is that of the slow rule (in 2,999 drawn cases torchvision's, too)."""

import numpy as np
import pytest

from cnnvision.evaluation.pasting import part_of_runs, pasted_runs
from cnnvision.ops.run_lengths import mask_of_runs
from tests.reference.masks import exactly_pasted, pasted

RULES = {"torchvision": pasted, "exact": exactly_pasted}


def check(mask, box, size, alignment="torchvision", threshold=0.5):
    box = np.array(box, np.float32)
    runs = pasted_runs(mask, box, size, alignment, threshold)
    assert runs.dtype == np.int64 and runs.sum() == size[0] * size[1] and (runs[1:] > 0).all()
    found = mask_of_runs(runs, size)
    np.testing.assert_array_equal(found, RULES[alignment](mask, box, size, threshold))
    where, part = part_of_runs(runs, size)
    again = np.zeros(size, bool)
    again[where] = part
    np.testing.assert_array_equal(again, found)
    assert not part.size or all(part.any(axis=axis)[[0, -1]].all() for axis in (0, 1))
    return found


def test_a_mask_that_is_full_fills_its_box_but_for_the_rim():
    """28 positions on 28 pixels: padded, 30 positions on the 31 pixels from 9 to 39, of which the outer ones are half 0."""
    found = check(np.ones((28, 28), np.float32), [10, 5, 38, 33], (50, 60))
    expected = np.zeros((50, 60), bool)
    expected[5:34, 10:39] = True
    np.testing.assert_array_equal(found, expected)


def test_exactly_pasted_a_full_mask_fills_its_box():
    """Up to the pixels of whose centre half is left."""
    found = check(np.ones((28, 28), np.float32), [10, 5, 38, 33], (50, 60), "exact")
    expected = np.zeros((50, 60), bool)
    expected[5:33, 10:38] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("alignment", RULES)
@pytest.mark.parametrize("seed", range(60))
def test_random_masks_are_those_of_the_slow_rule(seed, alignment):
    """Boxes inside, across the rim, outside, thinner than a pixel; masks smooth and of noise."""
    rng = np.random.default_rng(seed)
    size, cells = tuple(int(side) for side in rng.integers(1, 40, 2)), int(rng.choice([1, 3, 7, 14]))
    noise = rng.standard_normal((cells, cells)) * (8 if seed % 2 else 1)
    corners = np.sort(rng.uniform(-0.4, 1.4, (2, 2)) * [size[1], size[0]], axis=0)
    if seed % 5 == 0:
        corners[1] = corners[0] + rng.uniform(0, 1.5, 2)
    check((1 / (1 + np.exp(-noise))).astype(np.float32), corners.ravel(), size, alignment, 0.5 if seed % 3 else 0.3)


def test_a_mask_over_the_whole_image_is_one_run():
    runs = pasted_runs(np.ones((7, 7), np.float32), np.array([-50, -50, 80, 80], np.float32), (20, 30))
    np.testing.assert_array_equal(runs, [0, 600])


@pytest.mark.parametrize("box", [[100, 5, 110, 9], [-30, -30, -20, -20], [3, 3, 8, 8]])
def test_what_is_not_seen_is_one_run_of_zeros(box):
    mask = np.zeros((7, 7), np.float32) if box[0] == 3 else np.ones((7, 7), np.float32)
    np.testing.assert_array_equal(pasted_runs(mask, np.array(box, np.float32), (20, 30)), [600])
