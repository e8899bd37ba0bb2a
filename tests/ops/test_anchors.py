"""ops/anchors.py and ops/boxes.py against one-box-at-a-time arithmetic, papers and hand-worked numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops import anchors
from cnnvision.ops import boxes as deltas
from tests.ops.drawn_boxes import random_boxes
from tests.reference import anchors as reference

PAPER = (10.0, 10.0, 5.0, 5.0)


def test_the_paper_s_nine_anchors():
    """Three scales and three ratios, Ren et al. 2015, section 3.1.1; areas as said there, up to whole pixels."""
    nine = anchors.anchors_at((128.0, 256.0, 512.0), (0.5, 1.0, 2.0))
    assert nine.shape == (9, 4) and nine.dtype == np.float32
    sides = nine[:, 2:] - nine[:, :2]
    np.testing.assert_allclose(np.sqrt(sides.prod(axis=1)), [128, 256, 512] * 3, rtol=0.01)
    np.testing.assert_allclose(sides[:, 1] / sides[:, 0], np.repeat([0.5, 1, 2], 3), rtol=0.02)
    np.testing.assert_array_equal(nine[:, :2], -nine[:, 2:])
    assert nine[3].tolist() == [-64, -64, 64, 64] and nine[0].tolist() == [-91, -45, 91, 45]


@pytest.mark.parametrize("stride", [4, 16])
def test_a_grid_equals_the_reference(stride):
    sizes, ratios = (32.0, 48.5), (0.5, 1.0, 2.0)
    found = anchors.grid(anchors.anchors_at(sizes, ratios), (3, 5), (stride, stride))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, reference.anchors(sizes, ratios, (3, 5), stride))


@pytest.mark.parametrize("weights", [deltas.UNWEIGHTED, PAPER])
def test_deltas_equal_the_reference(weights):
    rng = np.random.default_rng(0)
    boxes, references = random_boxes(rng, 1000), np.roll(random_boxes(rng, 1000), 3, axis=0)
    encoded = deltas.encode(jnp.array(boxes), jnp.array(references), weights)
    pairs = list(zip(boxes.astype(float), references.astype(float), strict=True))
    expected = np.array([reference.encode(box, other, weights) for box, other in pairs])
    np.testing.assert_allclose(encoded, expected, rtol=1e-4, atol=1e-4)
    whole = np.all([(each[:, 2:] > each[:, :2]).all(axis=1) for each in (boxes, references)], axis=0)
    assert 500 < whole.sum() < 900 and not np.asarray(encoded)[~whole].any()
    drawn = rng.normal(size=(1000, 4)).astype(np.float32) * 3 * weights[3]
    decoded = deltas.decode(jnp.array(drawn), jnp.array(references), weights)
    expected = [reference.decode(row, other, weights) for row, (_, other) in zip(drawn.astype(float), pairs, strict=True)]
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-2)
    near = whole & (np.abs(np.asarray(encoded)[:, 2:] / weights[2]) < 3).all(axis=1)
    back = np.asarray(deltas.decode(encoded, jnp.array(references), weights))
    np.testing.assert_allclose(back[near], boxes[near], atol=2e-3)


def test_a_hand_worked_delta():
    reference_box, box = jnp.array([[0.0, 0.0, 10.0, 20.0]]), jnp.array([[5.0, 5.0, 25.0, 15.0]])
    np.testing.assert_allclose(deltas.encode(box, reference_box), [[1.0, 0.0, np.log(2), np.log(0.5)]], rtol=1e-6)
    weighted = deltas.encode(box, reference_box, PAPER)
    np.testing.assert_allclose(weighted, [[10.0, 0.0, 5 * np.log(2), 5 * np.log(0.5)]], rtol=1e-6)
    grown = deltas.decode(jnp.full((1, 4), 100.0), jnp.array([[0.0, 0.0, 16.0, 16.0]]))
    np.testing.assert_allclose(grown[0, 2:] - grown[0, :2], 1000.0, rtol=1e-5)


def test_gradients_of_decoding_are_finite_and_right():
    references = jnp.array([[0.0, 0.0, 10.0, 20.0], [3.0, 3.0, 3.0, 3.0]])
    slopes = jax.jacobian(lambda d: deltas.decode(d, references))(jnp.zeros((2, 4)))
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes[0, :, 0, 0], [10, 0, 10, 0])
    np.testing.assert_allclose(slopes[0, :, 0, 3], [0, -10, 0, 10])
    huge = jax.grad(lambda d: deltas.decode(d, references).sum())(jnp.full((2, 4), 1e30))
    assert np.isfinite(huge).all()


def test_anchors_of_several_maps_in_one_order():
    maps = {16: jnp.zeros((1, 2, 3, 5)), 8: jnp.zeros((1, 4, 6, 5))}
    fine, coarse = anchors.anchors_of_maps(maps, (32, 48), [(16.0,), (24.0,)], (0.5, 1.0))
    np.testing.assert_array_equal(fine, reference.anchors((16.0,), (0.5, 1.0), (4, 6), 8))
    np.testing.assert_array_equal(coarse, reference.anchors((24.0,), (0.5, 1.0), (2, 3), 16))
    outputs = [jnp.arange(48.0).reshape(1, 4, 6, 2), jnp.arange(100.0, 112.0).reshape(1, 2, 3, 2)]
    assert anchors.concatenated(outputs)[0].tolist() == [*range(48), *range(100, 112)]
    assert anchors.concatenated(outputs, 2).shape == (1, 30, 2) and anchors.concatenated(outputs, 2)[0, 24].tolist() == [
        100,
        101,
    ]


def test_which_anchors_lie_in_the_image():
    """By their centre; one exactly at the border lies in the padding."""
    boxes = jnp.array([[0.0, 0, 10, 10], [20, 0, 40, 10], [20, 0, 39, 10], [-30, 0, 10, 10], [0, 50, 10, 70]])
    assert anchors.in_image(boxes, jnp.array([60, 30])).tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_best_of_each_map(most):
    scores = np.random.default_rng(0).integers(0, 5, 17).astype(np.float32)  # with ties: the first comes first
    start = 0
    for count, (best, index) in zip((4, 12, 1), anchors.best_of_each(jnp.array(scores), (4, 12, 1), most), strict=True):
        expected = start + np.argsort(-scores[start : start + count], kind="stable")[:most]
        assert index.tolist() == expected.tolist() and best.tolist() == scores[expected].tolist()
        start += count
