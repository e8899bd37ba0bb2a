"""heads/rpn.py: the order of the long lists, proposals against a slow version, the loss by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.heads import rpn
from cnnvision.ops.anchors import anchors_of_maps
from cnnvision.ops.boxes import decode, encode, iou, pairwise
from cnnvision.types import ObjectTarget
from tests.reference import nms as reference

SHAPES = {8: (4, 6), 16: (2, 3)}
SIZE = (32, 48)
MAPS = {stride: jnp.zeros((1, *shape, 5)) for stride, shape in SHAPES.items()}
ANCHORS = anchors_of_maps(MAPS, SIZE, [(16.0,), (24.0, 48.0)], (0.5, 1.0))
ALL = jnp.concatenate(ANCHORS)
DECODE = jax.jit(decode)


def outputs(seed, count=len(ALL)):
    rng = np.random.default_rng(seed)
    return jnp.array(rng.normal(size=count), jnp.float32), jnp.array(0.3 * rng.normal(size=(count, 4)), jnp.float32)


def test_lists_are_in_one_order():
    """Maps from the finest, positions row by row, anchors of a position: numbers that say where they come from."""
    head = rpn.RegionProposalHead(2)
    params = head.init(jax.random.key(0), MAPS)
    assert jax.tree.map(lambda x: x.shape, params["params"])["conv"]["kernel"] == (3, 3, 5, 5)
    middle = jnp.zeros((3, 3, 5, 5)).at[1, 1].set(jnp.eye(5))
    params["params"]["conv"]["kernel"] = middle
    params["params"]["objectness"]["kernel"] = jnp.zeros((1, 1, 5, 2)).at[0, 0, 0].set(jnp.array([1.0, 2.0]))
    params["params"]["deltas"]["kernel"] = jnp.zeros((1, 1, 5, 8)).at[0, 0, 0].set(jnp.arange(1.0, 9.0))
    numbered, start = {}, 1.0
    for stride in sorted(MAPS):
        h, w = SHAPES[stride]
        numbered[stride] = jnp.zeros((1, h, w, 5)).at[0, :, :, 0].set(start + jnp.arange(float(h * w)).reshape(h, w))
        start += h * w
    objectness, deltas = head.apply(params, numbered)
    positions = np.arange(1, start)
    np.testing.assert_array_equal(objectness[0], np.stack([positions, 2 * positions], axis=1).ravel())
    np.testing.assert_array_equal(deltas[0], (positions[:, None] * np.arange(1, 9)).reshape(-1, 4))
    assert anchors_of_maps(MAPS, SIZE, [(16.0,), (24.0,)], (1.0,))[0].shape == (24, 4)
    first = ANCHORS[0].reshape(4, 6, 2, 4)
    np.testing.assert_array_equal(first[2, 5] - first[0, 0], np.tile([40, 16, 40, 16], (2, 1)))


@pytest.mark.parametrize(("before", "most"), [(10, 8), (1000, 1000), (5, 40)])
def test_proposals_equal_a_slow_version(before, most):
    run = jax.jit(lambda o, d, s: rpn.propose(o, d, s, anchors=ANCHORS, before=before, most=most, threshold=0.5))
    for seed in range(20):
        objectness, deltas = outputs(seed)
        height, width = 20, 41
        expected, start = [], 0
        answered, decoded = np.asarray(jax.nn.sigmoid(objectness)), np.asarray(DECODE(deltas, ALL))
        for level in ANCHORS:
            scores = answered[start : start + len(level)]
            boxes = np.clip(decoded[start : start + len(level)], 0, [width, height, width, height])
            order = np.argsort(-scores, kind="stable")[:before]
            boxes, scores = boxes[order], scores[order]
            valid = ((boxes[:, 2:] - boxes[:, :2]) >= 1e-3).all(axis=1)
            expected += [(-scores[i], *boxes[i]) for i in reference.nms(boxes, scores, valid, 0.5)]
            start += len(level)
        expected = np.array(sorted(expected)[:most])
        found = jax.device_get(run(objectness, deltas, jnp.array([height, width])))
        count = len(expected)
        assert found.valid.tolist() == [True] * count + [False] * (most - count) and found.boxes.shape == (most, 4)
        np.testing.assert_allclose(found.scores[:count], -expected[:, 0], rtol=1e-6)
        np.testing.assert_allclose(found.boxes[:count], expected[:, 1:], atol=1e-4)
        assert not found.boxes[count:].any() and not found.scores[count:].any()


def target_of(boxes, valid=True, crowd=False):
    boxes = jnp.array(boxes, jnp.float32).reshape(-1, 4)
    alike = lambda value: jnp.broadcast_to(jnp.array(value), len(boxes))
    return ObjectTarget(boxes, jnp.zeros(len(boxes), jnp.int32), alike(valid), alike(crowd))


def test_the_loss_by_hand():
    """One object that is an anchor, moved by a pixel: what its anchors should say, and what they say."""
    box = jnp.array(ALL[20]) + jnp.array([1.0, 0.0, 1.0, 0.0])
    objectness, deltas = outputs(0)
    size, every = jnp.array(SIZE), rpn.RPNSettings(number=len(ALL), share=1.0)
    run = jax.jit(lambda o, d, target: rpn.rpn_terms(jax.random.key(0), o, d, ALL, target, size, every))
    terms = run(objectness, deltas, target_of(box))
    overlaps = np.asarray(pairwise(iou, ALL, box[None])[:, 0])
    positive = (overlaps >= 0.7) | (overlaps == overlaps.max())
    counts = positive | (overlaps < 0.3)
    assert 0 < positive.sum() < 4 and not counts.all()
    logits = np.asarray(objectness, np.float64)
    entropy = np.where(positive, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))
    assert float(terms["objectness"].value()) == pytest.approx(entropy[counts].mean(), rel=1e-5)
    distance = np.abs(np.asarray(deltas) - np.asarray(encode(jnp.broadcast_to(box, ALL.shape), ALL)))
    smooth = np.where(distance < 1 / 9, 4.5 * distance**2, distance - 1 / 18).sum(axis=1)
    assert float(terms["rpn_box"].value()) == pytest.approx(smooth[positive].sum() / counts.sum(), rel=1e-4)


def test_without_objects_all_is_background():
    target = target_of(np.zeros((3, 4)), valid=False)
    objectness, deltas = outputs(0)
    terms = lambda o, d: rpn.rpn_terms(jax.random.key(0), o, d, ALL, target, jnp.array(SIZE), rpn.RPNSettings(number=16))
    value = lambda o, d: sum(term.value() for term in terms(o, d).values())
    found, (slopes, none) = jax.jit(jax.value_and_grad(value, (0, 1)))(objectness, deltas)
    assert np.isfinite(found) and (np.asarray(slopes) != 0).sum() == 16 and not none.any()


@pytest.mark.parametrize("size", [(32, 48), (32, 20), (9, 48)])
def test_nothing_is_learnt_in_the_padding(size):
    """All anchors are drawn that may be: positives, those of the object, and background, by the middle of each."""
    objectness, deltas = outputs(0)
    target, every = target_of([[2, 2, 18, 8], [30, 20, 46, 30]]), rpn.RPNSettings(number=len(ALL), share=1.0)

    def total(o, d):
        terms = rpn.rpn_terms(jax.random.key(0), o, d, ALL, target, jnp.array(size), every)
        return sum(term.total for term in terms.values())

    slopes = jax.jit(jax.grad(total))(objectness, deltas)
    middles = (np.asarray(ALL)[:, :2] + np.asarray(ALL)[:, 2:]) / 2
    inside = (middles[:, 1] < size[0]) & (middles[:, 0] < size[1])
    # An object's best anchor is the best of those within the image, if one overlaps it at all.
    overlaps = np.asarray(pairwise(iou, ALL, target.boxes)) * inside[:, None]
    best = ((overlaps == overlaps.max(axis=0)) & (overlaps > 0)).any(axis=1)
    assert best.any()
    counts = (overlaps.max(axis=1) < 0.3) | (overlaps >= 0.7).any(axis=1) | best
    np.testing.assert_array_equal(np.asarray(slopes) != 0, inside & counts)


def test_recall_counts_objects():
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]]
    proposals = jnp.array([[0, 0, 10, 8], [20, 20, 30, 30], [40, 0, 50, 4]], jnp.float32)
    target = target_of(boxes, valid=[True, True, True])
    found = rpn.proposal_recall(proposals, jnp.array([True, False, True]), target)
    assert float(found.total) == 1 and float(found.count) == 3
