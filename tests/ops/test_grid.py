"""ops/grid.py: boxes of cells there and back. Assignment stands against a slow version in tests/heads/test_grid_head.py."""

import jax.numpy as jnp
import numpy as np

from cnnvision.ops import grid


def test_boxes_there_and_back():
    rng = np.random.default_rng(0)
    middles, sides = rng.uniform(0, 1, (5, 7, 2)), rng.uniform(0.01, 1, (5, 7, 2))
    middles = (middles + grid.corners((5, 7))) / [7, 5]
    boxes = jnp.array(np.concatenate([middles - sides / 2, sides], axis=-1), jnp.float32)
    encoded = grid.encode(boxes)
    assert (np.asarray(encoded[..., :2]) >= -1e-5).all() and (np.asarray(encoded[..., :2]) <= 1 + 1e-5).all()
    np.testing.assert_allclose(grid.decode(encoded[:, :, None])[:, :, 0], boxes, atol=1e-5)
