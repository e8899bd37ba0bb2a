"""ops/default_boxes.py against one box at a time, and the paper's numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops.default_boxes import default_boxes, outside_padding, sides_at
from tests.reference import ssd as reference

SSD300 = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1))
RATIOS = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))


@pytest.mark.parametrize("steps", [(8.0, 16.0), None])
@pytest.mark.parametrize("size", [(40, 64), (37, 50)])
def test_boxes_equal_the_reference(size, steps):
    arguments = ([(5, 8), (3, 4)], size, (0.1, 0.375, 1.05), ((2.0,), (1.5, 3.0)), steps)
    found = default_boxes(*arguments)
    assert found.shape == (5 * 8 * 4 + 3 * 4 * 6, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, reference.default_boxes(*arguments), atol=1e-4)


@pytest.mark.parametrize(
    ("positions", "ratios", "count"),
    [
        (SSD300, RATIOS, 8732),
        ([(2**i, 2**i) for i in range(6, -1, -1)], (RATIOS[0], *[RATIOS[1]] * 4, *[RATIOS[0]] * 2), 24564),
    ],
)
def test_as_many_as_published(positions, ratios, count):
    """SSD300 and SSD512 (Liu et al. 2016, table 7)."""
    scales = [0.1 + 0.1 * i for i in range(len(positions) + 1)]
    assert len(default_boxes(positions, (512, 512), scales, ratios)) == count


def test_the_boxes_of_a_position_by_hand():
    """s = .2 and s' = .45; with the ratio 4, and a side that would be longer than the image's."""
    np.testing.assert_allclose(sides_at(0.2, 0.45, (4.0,)), [[0.2, 0.2], [0.3, 0.3], [0.4, 0.1], [0.1, 0.4]], rtol=1e-6)
    assert sides_at(0.8, 1.0, (4.0,))[2].tolist() == pytest.approx([1.0, 0.4])
    boxes = default_boxes([(2, 1)], (10, 100), (0.2, 0.45), ((),))
    np.testing.assert_allclose(boxes[[0, 2]], [[40, 1.5, 60, 3.5], [40, 6.5, 60, 8.5]], atol=1e-5)


def test_which_boxes_lie_in_the_padding():
    """By their centre, right of the image or below it; beyond the border of an image that fills the input there is none."""
    boxes = jnp.array([[0.0, 0, 10, 10], [15, 0, 25, 10], [0, 35, 10, 45], [20, 35, 30, 45]])
    whole = (40, 30)
    for size, expected in (
        ((40, 30), [True, True, True, True]),
        ((40, 20), [True, False, True, False]),
        ((39, 30), [True, True, False, False]),
        ((10, 10), [True, False, False, False]),
    ):
        assert outside_padding(boxes, jnp.array(size), whole).tolist() == expected
