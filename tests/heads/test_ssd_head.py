"""heads/ssd_head.py: the order of the long lists, the loss against a slow version, padding, crowds, the ceiling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.heads import ssd_head
from cnnvision.ops.boxes import encode
from cnnvision.ops.default_boxes import default_boxes, outside_padding
from cnnvision.ops.detections import DetectionSettings
from cnnvision.types import ObjectTarget
from tests.reference import ssd as reference

SIZE, POSITIONS, RATIOS = (40, 64), ((5, 8), (3, 4)), ((2.0,), (2.0, 3.0))
# Whole quarters, as objects below: areas are exact, and ties are ties in float32 and in float64.
BOXES = jnp.array(np.round(4 * default_boxes(POSITIONS, SIZE, (0.15, 0.35, 0.7), RATIOS)) / 4)
EVERY = jnp.ones(len(BOXES), bool)
CLASSES = 3
MATCHING = ssd_head.MatchingSettings()
TERMS = jax.jit(lambda *arguments: ssd_head.ssd_terms(*arguments, MATCHING))


def outputs(seed):
    rng = np.random.default_rng(seed)
    return tuple(jnp.array(rng.normal(size=(len(BOXES), count)), jnp.float32) for count in (1 + CLASSES, 4))


def drawn(seed, count=5):
    """An image's objects: some not there, some crowds."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * [SIZE[1] - 0.25, SIZE[0] - 0.25]
    boxes = (np.round(4 * corners.reshape(count, 4)) / 4 + [0, 0, 0.25, 0.25]).astype(np.float32)
    labels, valid, crowd = rng.integers(0, CLASSES, count), rng.random(count) < 0.8, rng.random(count) < 0.2
    return ObjectTarget(*map(jnp.array, (boxes, labels.astype(np.int32), valid, crowd & valid)))


def target_of(boxes, labels=None, crowd=False):
    boxes = jnp.array(boxes, jnp.float32).reshape(-1, 4)
    labels = jnp.zeros(len(boxes), jnp.int32) if labels is None else jnp.array(labels)
    return ObjectTarget(boxes, labels, jnp.ones(len(boxes), bool), jnp.full(len(boxes), crowd))


def test_lists_are_in_one_order():
    """Maps from the finest, positions row by row, default boxes of a position: numbers that say where they come from."""
    head = ssd_head.SSDHead(CLASSES, (4, 6))
    maps = [jnp.zeros((1, *shape, 5)) for shape in POSITIONS]
    params = jax.tree.map(jnp.zeros_like, head.init(jax.random.key(0), maps))
    for part, numbers in (("class", 1 + CLASSES), ("box", 4)):
        for name, boxes in (("map0", 4), ("map1", 6)):
            params["params"][part][name]["bias"] = jnp.arange(float(boxes * numbers))
            kernel = params["params"][part][name]["kernel"]
            params["params"][part][name]["kernel"] = kernel.at[1, 1, 0].set(1.0)
    start, numbered = 0, []
    for rows, columns in POSITIONS:
        places = 100.0 * (start + jnp.arange(float(rows * columns))).reshape(1, rows, columns, 1)
        numbered.append(jnp.pad(places, ((0, 0), (0, 0), (0, 0), (0, 4))))
        start += rows * columns
    for found in head.apply(params, numbered):
        numbers = found.shape[-1]
        expected = [
            [100 * (first + place) + box * numbers + number for number in range(numbers)]
            for first, places, boxes in ((0, 40, 4), (40, 12, 6))
            for place in range(places)
            for box in range(boxes)
        ]
        assert found.shape[1] == len(BOXES)
        np.testing.assert_array_equal(found[0], expected)


def test_the_loss_equals_the_reference():
    """Of a batch of images, in one of which there is no object."""
    images = [drawn(seed).replace(crowd=jnp.zeros(5, bool)) for seed in range(6)]
    images[3] = images[3].replace(valid=jnp.zeros(5, bool))
    found, logits, deltas = [], [], []
    for seed, target in enumerate(images):
        logits.append(outputs(seed)[0])
        deltas.append(outputs(seed)[1])
        found.append(TERMS(logits[-1], deltas[-1], BOXES, EVERY, target)[0])
    means = ((sum(each[name].total for each in found), sum(each[name].count for each in found)) for name in ("class", "box"))
    ours = [float(total / count) for total, count in means]
    objects = [(target.boxes[target.valid].tolist(), (target.labels[target.valid] + 1).tolist()) for target in images]
    expected = reference.loss(*map(np.asarray, (logits, deltas)), BOXES.tolist(), objects)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert not found[3]["class"].total and not found[3]["class"].count


def test_hard_negatives_have_a_gradient_and_others_none():
    logits, deltas = outputs(0)
    target = drawn(1)
    slopes, of_deltas = jax.jit(
        jax.grad(lambda o, d: sum(term.total for term in TERMS(o, d, BOXES, EVERY, target)[0].values()), (0, 1))
    )(logits, deltas)
    matches = ssd_head.matched(BOXES, EVERY, target, MATCHING)
    positive, negative = np.asarray(matches.positive), np.asarray(matches.negative)
    learns = np.asarray(slopes).any(axis=1)
    assert positive.sum() > 2 and learns[positive].all() and learns[~positive].sum() == 3 * positive.sum()
    np.testing.assert_array_equal(np.asarray(of_deltas).any(axis=1), positive)
    entropy = [reference.cross_entropy(row, 0) for row in np.asarray(logits)]
    chosen = learns & ~positive
    assert negative[chosen].all() and min(np.array(entropy)[chosen]) >= max(np.array(entropy)[negative & ~learns])


def test_what_is_measured():
    """The share of matched boxes whose class is right; of objects that have one: the second here loses its only box."""
    target = target_of([BOXES[45].tolist(), [30, 20, 30.5, 20.5], [30.2, 20, 30.7, 20.5]], [0, 1, 2])
    matches = ssd_head.matched(BOXES, EVERY, target, MATCHING)
    assert not (np.asarray(matches.object)[np.asarray(matches.positive)] == 1).any()
    logits = np.zeros((len(BOXES), 4), np.float32)
    logits[:, 1] = 1.0
    _, measured = TERMS(jnp.array(logits), outputs(0)[1], BOXES, EVERY, target)
    assert float(measured["matched_objects"].value()) == pytest.approx(2 / 3)
    right = (np.asarray(matches.object)[np.asarray(matches.positive)] == 0).mean()
    assert 0 < right < 1 and float(measured["foreground_accuracy"].value()) == pytest.approx(right)


@pytest.mark.parametrize("size", [(40, 64), (40, 30), (17, 64), (20, 20)])
def test_nothing_is_learnt_or_found_in_the_padding(size):
    logits, deltas = outputs(0)
    inside = outside_padding(BOXES, jnp.array(size), SIZE)
    x, y = np.asarray((BOXES[:, :2] + BOXES[:, 2:]) / 2).T
    np.testing.assert_array_equal(inside, (x < size[1]) & (y < size[0]))
    target = target_of([[2, 2, 18, 14], [1, 4, 9, 16]])
    everything = ssd_head.MatchingSettings(negatives=10.0**4)

    def total(logits, deltas):
        terms, _ = ssd_head.ssd_terms(logits, deltas, BOXES, inside, target, everything)
        return sum(term.total for term in terms.values())

    slopes = jax.jit(jax.grad(total))(logits, deltas)
    np.testing.assert_array_equal(np.asarray(slopes).any(axis=1), inside)
    settings = DetectionSettings(score_above=0.0, threshold=1.0, most=len(BOXES) * CLASSES)
    found = ssd_head.ssd_detections(logits, jnp.zeros_like(deltas), BOXES, inside, jnp.array(size), settings)
    assert int(found.valid.sum()) == CLASSES * int(inside.sum())


def test_a_crowd_is_neither_matched_nor_background():
    crowd = target_of([[8, 8, 40, 32]], crowd=True)
    matches = ssd_head.matched(BOXES, EVERY, crowd, MATCHING)
    within = np.array([reference.iou(box, (8, 8, 40, 32)) >= 0.5 for box in BOXES.tolist()])
    assert within.any() and not matches.positive.any() and not np.asarray(matches.negative)[within].any()
    assert np.asarray(matches.negative).any()


def test_detections_by_hand():
    """Two boxes on one object, moved onto it: the better one stays; a box of another class stays beside it."""
    logits = np.full((len(BOXES), 4), -20.0, np.float32)
    logits[:, 0] = 0.0
    logits[[3, 7, 11], [1, 1, 2]] = (5.0, 4.0, 3.0)
    wanted = np.array([[10, 10, 30, 30], [11, 10, 30, 30], [10, 10, 30, 29]], np.float32)
    deltas = np.zeros((len(BOXES), 4), np.float32)
    deltas[[3, 7, 11]] = encode(jnp.array(wanted), BOXES[jnp.array([3, 7, 11])], ssd_head.DELTA_WEIGHTS)
    settings = DetectionSettings(score_above=0.01, threshold=0.45, most=5, candidates=4)
    found = ssd_head.ssd_detections(jnp.array(logits), jnp.array(deltas), BOXES, EVERY, jnp.array(SIZE), settings)
    assert found.valid.tolist() == [True, True, False, False, False] and found.labels[:2].tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes[:2], wanted[[0, 2]], atol=1e-4)
    np.testing.assert_allclose(found.scores[:2], 1 / (1 + np.exp([-5.0, -3.0])), rtol=1e-5)


def test_the_ceiling_equals_the_reference():
    """Objects that lose their box or that another of their class suppresses; some are not there, and some are crowds."""
    settings = DetectionSettings(score_above=0.01, threshold=0.45, most=20, candidates=400)
    run = jax.jit(lambda target: ssd_head.ceiling(BOXES, EVERY, target, jnp.array(SIZE), CLASSES, MATCHING, settings))
    lost, suppressed = 0, 0
    for seed in range(60):
        target = drawn(seed, 8)
        if seed % 3 == 0:  # small ones near each other
            target = target.replace(boxes=20 + target.boxes / 16)
        elif seed % 3 == 1:  # pairs of one class that overlap
            target = target.replace(boxes=jnp.repeat(target.boxes[::2], 2, axis=0), labels=jnp.repeat(target.labels[::2], 2))
            target = target.replace(boxes=0.75 * target.boxes + jnp.tile(jnp.array([[0.0], [2.0]]), (4, 1)))
        target, real = jax.device_get(target), np.asarray(target.valid & ~target.crowd)
        expected = reference.ceiling(BOXES.tolist(), target.boxes.tolist(), target.labels, real, CLASSES, 0.45, 20)
        found = jax.device_get(run(target))
        count = int(found.valid.sum())
        assert count == len(expected) and (found.scores[:count] == 1).all()
        order = np.argsort([np.abs(target.boxes - box[None]).sum(axis=1).argmin() for box in found.boxes[:count]])
        objects = [number for number, _ in expected]
        np.testing.assert_allclose(found.boxes[:count][order], target.boxes[objects].reshape(-1, 4), atol=1e-3)
        np.testing.assert_array_equal(found.labels[:count][order], [label for _, label in expected])
        stands = {
            number for number in reference.match(BOXES.tolist(), target.boxes.tolist(), real, 0.5) if number is not None
        }
        lost, suppressed = lost + int(real.sum()) - len(stands), suppressed + len(stands) - count
    assert lost > 20 and suppressed > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (0.1, 0.2)}, r"scales = \(0\.1, 0\.2\): must be 3, one for each of 2 maps, and one more"),
        ({"ratios": ((2.0,),)}, r"ratios = .*: must be 2, one for each of 2 maps$"),
        ({"steps": (8.0,)}, r"steps = \(8\.0,\): must be 2, one for each of 2 maps"),
    ],
)
def test_settings_for_another_number_of_maps(changes, message):
    right = {"scales": (0.1, 0.2, 0.4), "ratios": ((2.0,), ()), "steps": None}
    settings = ssd_head.DefaultBoxSettings(**{**right, **changes})
    with pytest.raises(ConfigError, match=f"^{message}"):
        settings.check(2)
    assert ssd_head.DefaultBoxSettings(**right).check(2) is None and ssd_head.DefaultBoxSettings(**right).at_position == (
        4,
        2,
    )
