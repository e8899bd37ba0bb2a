"""ops/matching.py: against the paper's rules box by box, and what a random draw must hold to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops.boxes import covered, iou, pairwise
from cnnvision.ops.matching import hard_negatives, match, sample_balanced
from tests.ops.drawn_boxes import whole_boxes
from tests.reference import anchors as reference
from tests.reference import boxes as box_reference
from tests.reference import ssd as ssd_reference

MATCH = jax.jit(match, static_argnums=(4, 5, 6, 7))


def test_pairs_equal_the_reference():
    rng = np.random.default_rng(0)
    a, b = whole_boxes(rng, 40), whole_boxes(rng, 30)
    found = pairwise(iou, jnp.array(a), jnp.array(b))
    np.testing.assert_allclose(found, [[box_reference.iou(x, y) for y in b] for x in a], atol=1e-6)
    share = lambda x, y: box_reference.intersection(x, y) / box_reference.area(x) if box_reference.area(x) else 0.0
    found = pairwise(covered, jnp.array(a), jnp.array(b))
    np.testing.assert_allclose(found, [[share(x, y) for y in b] for x in a], atol=1e-6)


@pytest.mark.parametrize(("high", "low", "low_quality"), [(0.7, 0.3, True), (0.5, 0.5, False), (0.5, 0.0, True)])
def test_matches_equal_the_reference(high, low, low_quality):
    """1,000 images; overlaps of whole numbers lie exactly at the thresholds again and again."""
    rng = np.random.default_rng(1)
    exact = 0
    for _ in range(1000):
        boxes, objects = whole_boxes(rng, 20), whole_boxes(rng, 5)
        valid, crowd = rng.random(5) < 0.7, rng.random(5) < 0.3
        found = jax.device_get(MATCH(*map(jnp.array, (boxes, objects, valid, crowd)), high, low, low_quality))
        expected = reference.match(boxes, objects, valid, crowd, np.float32(high), np.float32(low), low_quality)
        for place, (number, positive, negative) in enumerate(expected):
            assert (bool(found.positive[place]), bool(found.negative[place])) == (positive, negative)
            assert int(found.object[place]) == number or float(found.overlap[place]) == 0
        exact += int((found.overlap == 0.5).sum())
        assert not (found.positive & found.negative).any()
    assert exact > 50


def test_low_quality_by_hand():
    """The paper's case i: an object that nothing covers well still has its best anchors, all of them."""
    boxes = jnp.array([[0, 0, 4, 4], [0, 0, 4, 8], [4, 0, 8, 4], [20, 20, 30, 30], [0, 0, 2, 2]], jnp.float32)
    objects = jnp.array([[0, 0, 8, 4], [50, 50, 60, 60]], jnp.float32)
    both = jnp.array([True, True])
    found = MATCH(boxes, objects, both, ~both, 0.7, 0.3, True)
    assert found.positive.tolist() == [True, False, True, False, False]  # the second object is touched by none
    assert found.negative.tolist() == [False, False, False, True, True]  # 1/3 is neither
    assert MATCH(boxes, objects, both, ~both, 0.7, 0.3, False).positive.tolist() == [False] * 5


def test_forced_matches_equal_the_reference():
    """SSD's: 500 images with ties, objects that nothing touches, and several with the same best box."""
    rng = np.random.default_rng(2)
    shared = 0
    for _ in range(500):
        boxes, objects = whole_boxes(rng, 20), whole_boxes(rng, 6)
        valid, crowd = rng.random(6) < 0.8, rng.random(6) < 0.2
        found = jax.device_get(MATCH(*map(jnp.array, (boxes, objects, valid, crowd)), 0.5, 0.5, False, True))
        real = valid & ~crowd
        expected = ssd_reference.match(boxes.tolist(), objects.tolist(), real, 0.5)
        assert [int(number) if one else None for number, one in zip(found.object, found.positive, strict=True)] == expected
        plain = jax.device_get(MATCH(*map(jnp.array, (boxes, objects, valid, crowd)), 0.5, 0.5, False, False))
        np.testing.assert_array_equal(found.negative, plain.negative & ~found.positive)
        without = [number for number in np.flatnonzero(real) if number not in expected]
        shared += sum(max(box_reference.iou(box, objects[number]) for box in boxes.tolist()) > 0 for number in without)
    assert shared > 20  # lost their box to another object


def test_forced_matches_by_hand():
    """Two objects have the same best box, which overlaps the first of them more: it is the second one's, the last. A padded
    object and a crowd force nothing, nor does one that no box touches."""
    boxes = jnp.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], jnp.float32)
    objects = jnp.array([[0, 0, 10, 9], [0, 0, 4, 4], [20, 0, 24, 4], [40, 0, 44, 4], [70, 0, 80, 9]], jnp.float32)
    valid, crowd = jnp.array([True, True, False, True, True]), jnp.array([False, False, False, True, False])
    found = MATCH(boxes, objects, valid, crowd, 0.5, 0.5, False, True)
    assert found.positive.tolist() == [True, False, False] and int(found.object[0]) == 1
    assert found.negative.tolist() == [False, True, True]
    nothing = MATCH(boxes[:0], objects, valid, crowd, 0.5, 0.5, False, True)
    assert nothing.positive.shape == (0,)


@pytest.mark.parametrize("ratio", [3.0, 0.5, 0.0, 100.0])
def test_hard_negatives_equal_the_reference(ratio):
    """With ties; the first of equal ones."""
    rng = np.random.default_rng(0)
    mine = jax.jit(hard_negatives, static_argnums=3)
    for case in range(50):
        losses = (rng.integers(0, 6, 40) / 4).astype(np.float32)
        kinds = rng.choice(3, 40, p=(0.1, 0.7, 0.2)) if case else np.ones(40, int)
        positive, negative = kinds == 0, kinds == 1
        found = mine(jnp.array(losses), jnp.array(positive), jnp.array(negative), ratio)
        expected = ssd_reference.hard_negatives(losses, positive, negative, ratio)
        assert sorted(expected) == np.flatnonzero(found).tolist()
        assert len(expected) == min(int(ratio * positive.sum()), negative.sum())


def test_without_objects_everything_is_background():
    boxes, none = jnp.array([[0.0, 0.0, 4.0, 4.0]]), jnp.zeros((3, 4))
    no = jnp.zeros(3, bool)
    found = MATCH(boxes, none, no, no, 0.7, 0.3, True)
    assert found.negative.all() and not found.positive.any() and int(found.object[0]) == 0


def test_what_a_crowd_covers_is_ignored():
    boxes = jnp.array([[0, 0, 10, 10], [0, 0, 10, 20], [5, 0, 15, 10]], jnp.float32)
    crowd = jnp.array([[0, 0, 10, 14]], jnp.float32)
    yes = jnp.ones(1, bool)
    found = MATCH(boxes, crowd, yes, yes, 0.5, 0.5, False)
    assert not found.positive.any() and found.negative.tolist() == [False, False, True]  # covered 1, 0.7, 0.5


def test_what_overlaps_a_difficult_object_as_much_as_no_background_may_is_ignored():
    """A proposal of IoU 2,500 / 3,600 that the object covers by less than .7, and one that hardly touches it."""
    boxes = jnp.array([[0, 0, 60, 60], [40, 40, 80, 80]], jnp.float32)
    difficult, yes = jnp.array([[5, 5, 55, 55]], jnp.float32), jnp.ones(1, bool)
    for negative_below, expected in ((0.5, [False, True]), (0.7, [True, True]), (0.05, [False, False])):
        assert MATCH(boxes, difficult, yes, yes, 0.7, negative_below, True).negative.tolist() == expected


SAMPLE = jax.jit(sample_balanced, static_argnums=(3, 4))


@pytest.mark.parametrize(("positives", "negatives"), [(40, 60), (3, 60), (40, 5), (0, 3), (0, 0), (7, 0)])
def test_a_sample_holds_what_it_says(positives, negatives):
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat([1, 0, -1], [positives, negatives, 20]))
    for seed in range(20):
        key = jax.random.key(seed)
        drawn = SAMPLE(key, jnp.array(kinds == 1), jnp.array(kinds == 0), 16, 0.25)
        index, positive, valid = (np.asarray(x) for x in (drawn.index, drawn.positive, drawn.valid))
        chosen = index[valid]
        assert len(set(chosen.tolist())) == len(chosen) and not index[~valid].any()
        expected = min(positives, 4)
        assert positive.sum() == expected and valid.sum() == expected + min(negatives, 16 - expected)
        np.testing.assert_array_equal(kinds[chosen], positive[valid].astype(int))


def test_each_box_is_drawn_as_often_as_another():
    kinds = np.repeat([1, 0, -1], [8, 30, 4])
    draw = jax.jit(jax.vmap(lambda key: sample_balanced(key, jnp.array(kinds == 1), jnp.array(kinds == 0), 16, 0.25)))
    drawn = draw(jax.random.split(jax.random.key(0), 4000))
    counts = np.bincount(np.asarray(drawn.index).ravel(), minlength=len(kinds))
    np.testing.assert_allclose(counts[:8], 4000 * 4 / 8, rtol=0.1)
    np.testing.assert_allclose(counts[8:38], 4000 * 12 / 30, rtol=0.1)
    assert not counts[38:].any()


def test_a_sample_of_fewer_boxes_than_asked_for():
    drawn = SAMPLE(jax.random.key(0), jnp.array([True, False]), jnp.array([False, True]), 5, 0.5)
    assert drawn.index.tolist() == [0, 1, 0, 0, 0] and drawn.valid.tolist() == [True, True, False, False, False]
