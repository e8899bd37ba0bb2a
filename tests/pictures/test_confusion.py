"""The picture of a confusion matrix: shades by share of the true class, with or without numbers."""

import numpy as np
import pytest

from cnnvision.pictures import drawing
from cnnvision.pictures.confusion import CELL, draw_confusion


def test_right_cells_are_green_and_wrong_ones_red_by_their_share():
    picture = draw_confusion(np.array([[9, 1], [0, 0]]), ("cat", "dog"))
    at = lambda row, column: picture[3 * 13 + row * CELL + 4, picture.shape[1] - 13 - (2 - column) * CELL + 4].astype(int)
    dark = np.array([44, 47, 53])
    right, wrong = np.array(drawing.RIGHT) - dark, np.array(drawing.WRONG) - dark
    np.testing.assert_allclose(at(0, 0), dark + right * 0.9**0.5, atol=1)
    np.testing.assert_allclose(at(0, 1), dark + wrong * 0.1**0.5, atol=1)
    np.testing.assert_array_equal(at(1, 0), dark)  # a class that does not occur
    np.testing.assert_array_equal(at(1, 1), dark)


@pytest.mark.parametrize("count", [1, 25, 26, 150])
def test_any_number_of_classes(count):
    picture = draw_confusion(np.eye(count, dtype=np.int64), [f"class {i}" for i in range(count)])
    assert picture.dtype == np.uint8 and picture.ndim == 3 and max(picture.shape) < 2400
