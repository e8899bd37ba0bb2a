"""Random boxes for tests: x1 y1 x2 y2, float32."""

import numpy as np


def random_boxes(rng, count):
    corners = rng.uniform(-20, 120, (count, 2, 2))
    made = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    made[::7, 2:] = made[::7, :2]  # without area
    made[1::7] = np.round(made[1::7])
    return made.astype(np.float32)


def whole_boxes(rng, count, side=12):
    """Boxes on a coarse grid: many equal ones, ties, boxes without area."""
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)
