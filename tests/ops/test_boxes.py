"""ops/boxes.py against one-box-at-a-time arithmetic, and its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops import boxes
from tests.ops.drawn_boxes import random_boxes
from tests.reference import boxes as reference


@pytest.mark.parametrize("name", ["iou", "giou"])
def test_overlaps_equal_the_reference(name):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 1000), random_boxes(rng, 1000)
    b[::5] = a[::5]  # the same box
    b[3::5] = a[3::5] + rng.uniform(-9, 9, a[3::5].shape).astype(np.float32)
    b = np.concatenate([np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])], axis=1)
    expected = [getattr(reference, name)(p.astype(np.float64), q.astype(np.float64)) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(getattr(boxes, name)(jnp.array(a), jnp.array(b)), expected, atol=2e-5)


def test_hand_worked_overlaps():
    a = jnp.array([[0.0, 0.0, 2.0, 2.0]])
    b = jnp.array([[1.0, 1.0, 3.0, 3.0]])
    assert float(boxes.iou(a, b)[0]) == pytest.approx(1 / 7)
    assert float(boxes.giou(a, b)[0]) == pytest.approx(1 / 7 - 2 / 9)
    far = jnp.array([[2.0, 0.0, 4.0, 2.0]])  # they share an edge
    assert float(boxes.iou(a, far)[0]) == 0.0
    assert float(boxes.giou(a, far)[0]) == 0.0


@pytest.mark.parametrize("name", ["iou", "giou"])
def test_gradients_are_finite_where_there_is_no_area(name):
    empty = jnp.array([[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 4.0, 3.0]])
    for other in (empty, empty + 1.0):
        gradient = jax.grad(lambda a, other=other: getattr(boxes, name)(a, other).sum())(empty)
        assert np.isfinite(gradient).all()


def test_giou_pulls_disjoint_boxes_together():
    a, b = jnp.array([[0.0, 0.0, 1.0, 1.0]]), jnp.array([[5.0, 0.0, 6.0, 1.0]])
    gradient = jax.grad(lambda a: boxes.giou(a, b).sum())(a)
    assert float(gradient[0, 2]) > 0


def test_fractions_are_top_left_and_sides():
    box = jnp.array([[10.0, 40.0, 60.0, 80.0]])
    np.testing.assert_allclose(boxes.to_fractions(box, 200, 100), [[0.1, 0.2, 0.5, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(boxes.from_fractions(boxes.to_fractions(box, 200, 100), 200, 100), box, rtol=1e-6)


def test_clip_takes_each_image_by_its_own_size():
    box = jnp.array([[-5.0, -5.0, 300.0, 300.0], [-5.0, 7.0, 300.0, 9.0]])
    clipped = boxes.clip(box, jnp.array([100.0, 8.0]), jnp.array([200.0, 50.0]))
    np.testing.assert_array_equal(clipped, [[0, 0, 200, 100], [0, 7, 50, 8]])
