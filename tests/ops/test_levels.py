"""The level of a pyramid that a box is pooled from: FPN's equation 1 by hand."""

import jax.numpy as jnp
import numpy as np

from cnnvision.ops.roi_align import level_of


def test_levels_by_hand():
    """224 pixels go to level 4, twice that to 5, half of it to 3; the bounds are exact."""
    sides = np.array([224, 223.9, 448, 447.9, 112, 111.9, 56, 900, 1, 0, 5000], np.float32)
    boxes = np.stack([sides * 0 + 3, sides * 0, sides + 3, sides], axis=1)
    assert level_of(jnp.array(boxes), 2, 5).tolist() == [4, 3, 5, 4, 3, 2, 2, 5, 2, 2, 5]
    wide = jnp.array([[0.0, 0.0, 448.0, 112.0], [5.0, 5.0, 1.0, 1.0]])
    assert level_of(wide, 3, 5).tolist() == [4, 3]


def test_smaller_inputs_have_a_smaller_canonical_size():
    boxes = jnp.array([[0.0, 0.0, 28, 28], [0.0, 0.0, 27, 27], [0.0, 0.0, 56, 56], [0.0, 0.0, 112, 112]])
    assert level_of(boxes, 2, 5, canonical=56.0).tolist() == [3, 2, 4, 5]
