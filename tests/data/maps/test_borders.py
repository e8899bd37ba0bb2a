"""data/maps/borders.py against the formula pixel by pixel, and by hand; and what of it comes into a batch."""

import math

import numpy as np
import pytest

from cnnvision.data.augment import Row
from cnnvision.data.batching import make_batch
from cnnvision.data.maps.borders import REACH, border_weights, connected_cells
from cnnvision.inputs import BorderWeights, InputSpec
from cnnvision.types import IGNORE
from tests.reference import borders as reference


def cells_of(seed, size=(30, 40), count=6):
    """Rectangles over one another, with numbers that have gaps."""
    rng = np.random.default_rng(seed)
    cells = np.zeros(size, np.int32)
    for name in rng.choice(np.arange(1, 50), count, replace=False):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        cells[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = name
    return cells


# The formula --------------------------------------------------------------------------------------------------------------


def test_two_squares_by_hand():
    """Three columns part two squares: in them (d1, d2) are (1, 3), (2, 2), (3, 1), so that the weight is the same in all."""
    cells = np.zeros((3, 9), np.int32)
    cells[:, :3], cells[:, 6:] = 1, 2
    weights = border_weights(cells, 10.0, 5.0)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[:, 3:6], 1 + 10 * math.exp(-16 / 50), rtol=1e-6)
    np.testing.assert_array_equal(weights[cells > 0], 1)


def test_a_corner_by_hand():
    """One pixel at the corner, one two to its right: the pixel below the first is 1 and √5 away from them."""
    cells = np.array([[1, 0, 7], [0, 0, 0]], np.int32)
    weights = border_weights(cells, 2.0, 3.0)
    expected = [[1, 1 + 2 * math.exp(-4 / 18), 1], [1 + 2 * math.exp(-((1 + 5**0.5) ** 2) / 18)] * 3]
    expected[1][1] = 1 + 2 * math.exp(-((2 * 2**0.5) ** 2) / 18)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 2.0), (100.0, 0.5), (1.0, 40.0)])
def test_weights_are_those_of_the_formula(seed, w0, sigma):
    cells = cells_of(seed)
    found, expected = border_weights(cells, w0, sigma), reference.weights(cells, w0, sigma)
    least = math.exp(-(REACH**2) / 2)
    assert least < 4e-4
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=w0 * least)
    near = expected - 1 >= w0 * least
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-5)
    np.testing.assert_array_equal(found[cells > 0], 1)


@pytest.mark.parametrize("cells", [np.zeros((5, 7)), np.ones((5, 7)), np.eye(6) * 3, np.zeros((1, 1)), np.zeros((0, 4))])
def test_fewer_than_two_cells_weigh_nothing(cells):
    np.testing.assert_array_equal(border_weights(cells.astype(np.int32), 10.0, 5.0), np.ones(cells.shape, np.float32))


def test_a_cell_of_two_pieces_is_one_cell():
    cells = np.array([[4, 0, 4, 0, 0, 0]], np.int32)
    np.testing.assert_array_equal(border_weights(cells, 10.0, 5.0), np.ones((1, 6)))
    cells[0, 5] = 1
    np.testing.assert_allclose(border_weights(cells, 10.0, 5.0), reference.weights(cells, 10.0, 5.0), rtol=1e-6)


def test_every_bit_is_the_same_wherever_the_cells_lie_in_memory():
    cells, held = cells_of(1, (60, 70), 12), []
    first = border_weights(cells, 10.0, 5.0)
    for i in range(50):
        held.append(np.zeros(37 * i + 5, np.uint8))
        np.testing.assert_array_equal(border_weights(cells.copy(), 10.0, 5.0), first)


# Which pixels are a cell --------------------------------------------------------------------------------------------------


def test_components_by_hand():
    """Corners do not join, other classes part, IGNORE is nothing."""
    maps = np.array([[1, 1, 0, 2], [0, 0, 1, 2], [1, 3, IGNORE, 2], [1, 3, 1, 1]], np.uint8)
    cells = connected_cells(maps, 0)
    assert cells.dtype == np.int32
    np.testing.assert_array_equal(cells, [[1, 1, 0, 5], [0, 0, 2, 5], [3, 6, 0, 5], [3, 6, 4, 4]])
    np.testing.assert_array_equal(connected_cells(maps, 1) > 0, (maps != 1) & (maps != IGNORE))


@pytest.mark.parametrize("background", [0, 2])
def test_components_are_those_of_a_flood(background):
    maps = np.random.default_rng(3).choice(np.array([0, 1, 2, IGNORE], np.uint8), (25, 30), p=[0.2, 0.3, 0.4, 0.1])
    found, expected = connected_cells(maps, background), reference.components(maps, background)
    pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(found)) == len(np.unique(expected)) == expected.max() + 1 > 20
    assert (0, 0) in pairs


@pytest.mark.parametrize("fill", [0, IGNORE])
def test_no_component(fill):
    np.testing.assert_array_equal(connected_cells(np.full((4, 5), fill, np.uint8), 0), np.zeros((4, 5), np.int32))


# Batches ------------------------------------------------------------------------------------------------------------------

SPEC = InputSpec(sizes=((8, 12),), target="semantic", border=BorderWeights(10.0, 5.0, 0))


def row_of(semantic, cells=None):
    return Row(0, np.zeros((*semantic.shape, 3), np.uint8), np.eye(2, 3, dtype=np.float32), semantic=semantic, cells=cells)


def test_touching_cells_are_told_apart_where_the_source_knows_them():
    """Two instances side by side are one component, around which no pixel weighs more."""
    semantic = np.zeros((8, 12), np.uint8)
    semantic[2:6, 2:10] = 1
    cells = semantic.astype(np.int32)
    cells[2:6, 6:10] = 2
    weights = make_batch([row_of(semantic), row_of(semantic, cells)], SPEC, (8, 12))[0].target.weights
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights[0], 1)
    np.testing.assert_allclose(weights[1], reference.weights(cells, 10.0, 5.0), rtol=1e-5)
    assert weights[1, 1, 6] == pytest.approx(1 + 10 * math.exp(-((1 + 2**0.5) ** 2) / 50), rel=1e-5)


def test_weights_lie_where_the_row_does_and_padding_weighs_nothing():
    semantic = np.array([[1, 0, 2], [1, 0, IGNORE]], np.uint8)
    batch, _ = make_batch([None, row_of(semantic)], SPEC, (8, 12))
    expected = np.zeros((2, 8, 12))
    expected[1, :2, :3] = reference.weights(reference.components(semantic, 0), 10.0, 5.0)
    np.testing.assert_allclose(batch.target.weights, expected, rtol=1e-5)


def test_no_weights_unless_asked_for():
    semantic = np.array([[1, 0, 2]], np.uint8)
    spec = InputSpec(sizes=((8, 12),), target="semantic")
    assert make_batch([row_of(semantic)], spec, (8, 12))[0].target.weights is None
