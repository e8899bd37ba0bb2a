"""heads/grid_head.py: YOLO's loss by hand and against a slow version; boxes there and back; what a grid can hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones.darknet import CONVOLUTIONS
from cnnvision.errors import ConfigError
from cnnvision.heads import grid_head
from cnnvision.heads.grid_head import GridHead, GridSettings
from cnnvision.ops import grid
from cnnvision.types import ObjectTarget
from tests.reference import yolo as reference

HEIGHT, WIDTH, K, B = 40, 80, 3, 2
NAMES = ("xy", "wh", "object", "no_object", "class")
WHOLE = jnp.array([HEIGHT, WIDTH])


def target_of(boxes, labels=None, valid=None, crowd=None):
    boxes = jnp.array(boxes, jnp.float32).reshape(-1, 4)
    n = len(boxes)
    labels = jnp.zeros(n, jnp.int32) if labels is None else jnp.array(labels, jnp.int32)
    valid = jnp.ones(n, bool) if valid is None else jnp.array(valid)
    return ObjectTarget(boxes, labels, valid, jnp.zeros(n, bool) if crowd is None else jnp.array(crowd))


def terms_of(outputs, target, size=WHOLE):
    cells = grid.assign(target, size, outputs.shape[:2], HEIGHT, WIDTH)
    return grid_head.grid_terms(outputs, cells, target, B, HEIGHT, WIDTH)


TERMS = jax.jit(terms_of)
SLOPES = jax.jit(jax.grad(lambda outputs, target: sum(t.value() for t in terms_of(outputs, target)[0].values())))


def values(terms):
    return {name: float(term.value()) for name, term in terms.items()}


def cell(*boxes, classes=(0.0,) * K):
    return [*np.concatenate(boxes), *classes]


EMPTY = (0.5, 0.5, 0.5, 0.5, 0.0)


def test_equation_3_by_hand():
    """A grid of 2×2 on 80×40 pixels. In cell (0, 0) lie two objects, the larger (0, 0, 40, 20) of class 1 is kept: x = y =
    .5 of the cell, √w = √.5, √h = √.5. In cell (1, 1) lies an object that no box overlaps. The others are empty."""
    root = np.sqrt(0.5)
    small = [4.0, 4.0, 8.0, 8.0]
    target = target_of([small, [0, 0, 40, 20], [76, 36, 80, 40]], labels=(2, 1, 0))
    first = (0.5, 0.5, root, root, 0.8)  # the object itself, IoU 1, but half a width too far right …
    first = (1.0, 0.5, root, root, 0.8)  # … moved by half a cell: w = .5 of the input is one cell, so IoU = (½)/(1½) = ⅓
    second = (0.5, 0.5, 0.1, 0.1, 0.3)  # w = h = .01: IoU = .0001 / .25 = .0004
    near, far = (0.5, 0.5, 0.1, 0.1, 0.2), (-0.9, -0.9, 0.1, 0.1, 0.1)  # neither touches the object at (.975, .95)
    outputs = jnp.array(
        [
            [cell(first, second, classes=(0.1, 0.7, 0.2)), cell((0, 0, 1, 1, 0.5), (0, 0, 1, 1, -0.25))],
            [cell(EMPTY, EMPTY, classes=(1, 1, 1)), cell(far, near, classes=(0.5, 0.5, 0))],
        ],
        jnp.float32,
    )
    terms, metrics = TERMS(outputs, target)
    # The object of cell (1, 1): centre (78, 38), i.e. x = 78/80·2 − 1 = .95, y = 38/40·2 − 1 = .9; w = .05, h = .1.
    expected = {
        "xy": 0.5**2 + (0.5 - 0.95) ** 2 + (0.5 - 0.9) ** 2,
        "wh": 0.0 + (0.1 - np.sqrt(0.05)) ** 2 + (0.1 - np.sqrt(0.1)) ** 2,
        "object": (0.8 - 1 / 3) ** 2 + (0.2 - 0.0) ** 2,
        "no_object": 0.3**2 + 0.1**2 + 0.5**2 + 0.25**2,
        "class": 0.1**2 + 0.3**2 + 0.2**2 + 0.5**2 + 0.5**2,
    }
    assert values(terms) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["lost_objects"].value()) == pytest.approx(1 / 3)
    assert float(metrics["responsible_iou"].value()) == pytest.approx((1 / 3 + 0) / 2, rel=1e-5)
    slopes = np.asarray(SLOPES(outputs, target))
    # The confidence's target is a constant: the responsible box moves by its coordinates' errors alone.
    np.testing.assert_allclose(slopes[0, 0, :5], [2 * 0.5, 0, 0, 0, 2 * (0.8 - 1 / 3)], atol=1e-5)
    np.testing.assert_allclose(slopes[0, 0, 5:10], [0, 0, 0, 0, 2 * 0.3], atol=1e-6)
    np.testing.assert_allclose(slopes[1, 1, :5], [0, 0, 0, 0, 2 * 0.1], atol=1e-6)
    assert not slopes[1, 0, 10:].any()  # classes count in cells with an object alone


def test_an_image_without_objects_teaches_that_there_are_none():
    outputs = jnp.array(np.random.default_rng(0).normal(size=(2, 2, 5 * B + K)), jnp.float32)
    terms, metrics = TERMS(outputs, target_of([[0, 0, 9, 9]], valid=[False]))
    confidences = np.asarray(outputs)[..., [4, 9]]
    assert values(terms) == pytest.approx({**dict.fromkeys(NAMES, 0.0), "no_object": float((confidences**2).sum())})
    assert float(metrics["lost_objects"].count) == 0


def drawn(rng, cells):
    n = int(rng.integers(1, 7))
    corners = rng.uniform(0, 1, (n, 2, 2)) ** rng.choice([1.0, 3.0])
    boxes = (np.sort(corners, axis=1) * [WIDTH, HEIGHT]).reshape(n, 4).astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
    if rng.random() < 0.2:
        boxes[0] = (WIDTH - 2, HEIGHT - 2, WIDTH + 2, HEIGHT + 2)  # its centre is the last corner
    if rng.random() < 0.2 and n > 1:
        boxes[1] = boxes[0]
    outputs = rng.normal(0.3, 0.5, (*cells, 5 * B + K)).astype(np.float32)
    boxes = np.concatenate([boxes, np.zeros((6 - n, 4), np.float32)])
    size = np.array([HEIGHT, WIDTH]) if rng.random() < 0.7 else rng.integers([HEIGHT // 2, WIDTH // 2], [HEIGHT, WIDTH])
    valid = (np.arange(6) < n) & (rng.random(6) < 0.9)
    return outputs, boxes, rng.integers(0, K, 6), valid, valid & (rng.random(6) < 0.2), size.astype(np.int32)


@pytest.mark.parametrize("cells", [(2, 2), (3, 4)])
def test_500_random_cases_equal_a_slow_version(cells):
    rng = np.random.default_rng(cells[1])
    cases = [drawn(rng, cells) for _ in range(500)]
    outputs, boxes, labels, valid, crowd, sizes = (np.stack(each) for each in zip(*cases, strict=True))
    targets = ObjectTarget(*(jnp.array(each) for each in (boxes, labels.astype(np.int32), valid, crowd)))
    given, outputs = (jnp.array(sizes), targets), jnp.array(outputs)
    found = jax.device_get(jax.jit(jax.vmap(lambda size, target: grid.assign(target, size, cells, HEIGHT, WIDTH)))(*given))
    terms, metrics = jax.device_get(jax.jit(jax.vmap(lambda *case: terms_of(case[0], case[2], case[1])))(outputs, *given))
    ties = lost = untouched = 0
    for i, (numbers, *case) in enumerate(cases):
        objects = case[0].tolist(), *case[1:4], case[4]
        expected, chosen = reference.terms(numbers.tolist(), B, *objects, HEIGHT, WIDTH)
        assert {name: term.total[i] for name, term in terms.items()} == pytest.approx(expected, rel=2e-4, abs=1e-4), i
        assert metrics["responsible_iou"].count[i] == len(chosen)
        of_cell, empty, gone = reference.assign(objects[0], *objects[2:], cells, HEIGHT, WIDTH)
        assert {tuple(c): int(found.object[i][tuple(c)]) for c in np.argwhere(found.holds[i])} == of_cell
        assert {tuple(c) for c in np.argwhere(found.empty[i])} == empty and np.flatnonzero(found.lost[i]).tolist() == gone
        lost, untouched = lost + len(gone), untouched + sum(each[2] == 0 for each in chosen)
        ties += len(of_cell) > 0 and valid[i, 1] and np.array_equal(boxes[i, 0], boxes[i, 1])
    assert min(ties, lost, untouched) > 20
    slopes = jax.jit(
        jax.vmap(jax.grad(lambda outputs, target: sum(t.value() for t in terms_of(outputs, target)[0].values())))
    )
    assert np.isfinite(slopes(outputs, targets)).all()


def test_gradients_are_finite_at_zero_and_beyond():
    target = target_of([[0, 0, 40, 20], [0, 0, 0.5, 0.5]], valid=[True, True])
    for fill in (0.0, -1.0, 1e6):
        assert np.isfinite(SLOPES(jnp.full((2, 2, 5 * B + K), fill), target)).all()


def test_scores_are_confidence_times_class():
    """Equation 1, at one cell of a grid of 1×1: a box of half the input in its middle."""
    outputs = jnp.array([[[0.5, 0.5, np.sqrt(0.5), np.sqrt(0.5), 0.8, 0.5, 0.5, -1, 1, -0.5, 0.5, 2.0, -0.5]]], jnp.float32)
    boxes, scores = grid_head.boxes_and_scores(outputs, B, HEIGHT, WIDTH)
    np.testing.assert_allclose(boxes[0], [[20, 10, 60, 30]], rtol=1e-5)
    np.testing.assert_allclose(boxes[1], [[0, 0, 80, 40]], atol=1e-4)  # a negative root, squared
    np.testing.assert_allclose(scores, [[0.4, 1.0, 0], [0, 0, 0]], atol=1e-6)


def test_the_ceiling_is_what_the_cells_hold():
    rng = np.random.default_rng(1)
    for _ in range(50):
        _, boxes, labels, valid, crowd, size = drawn(rng, (3, 4))
        found = jax.device_get(
            grid_head.ceiling(target_of(boxes, labels, valid, crowd), jnp.array(size), (3, 4), HEIGHT, WIDTH)
        )
        of_cell, _, _ = reference.assign(boxes.tolist(), valid, crowd, size, (3, 4), HEIGHT, WIDTH)
        assert sorted(np.flatnonzero(found.valid)) == sorted(of_cell.values())
        np.testing.assert_allclose(found.boxes[found.valid], boxes[found.valid], atol=1e-3)
        np.testing.assert_array_equal(found.labels[found.valid], labels[found.valid])


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_papers_head():
    """S = 7, B = 2, K = 20: 1,470 numbers from a map of 14×14×1024; parameters by hand."""
    head = GridHead(20, GridSettings())
    shape = jax.ShapeDtypeStruct((1, 14, 14, 1024), jnp.float32)
    outputs, variables = jax.eval_shape(lambda x: head.init_with_output(jax.random.key(0), x, train=False), shape)
    assert outputs.shape == (1, 7, 7, 30) and outputs.size == 1470
    convolutions = 4 * (9 * 1024 * 1024 + 1024)
    connected = (7 * 7 * 1024 * 4096 + 4096) + (4096 * 1470 + 1470)
    assert count(variables["params"]) == convolutions + connected
    assert len(CONVOLUTIONS) == 5 and sum(map(len, CONVOLUTIONS)) == 20


def test_without_fully_connected_layers_each_position_is_a_cell():
    head = GridHead(K, GridSettings(cells=None, convolutions=((8, 1),), norm="batch", hidden=()))
    variables = head.init(jax.random.key(0), jnp.zeros((1, 3, 5, 4)), train=False)
    assert head.apply(variables, jnp.zeros((2, 6, 4, 4)), train=False).shape == (2, 6, 4, 5 * B + K)
    with pytest.raises(ConfigError, match="cells must be None"):
        GridSettings(cells=7, hidden=())
