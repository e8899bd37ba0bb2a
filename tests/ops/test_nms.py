"""ops/nms.py against greedy suppression one box at a time: ties, boxes without area, overlaps exactly at the threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops import nms as ops
from cnnvision.ops.detections import DetectionSettings, best_of_classes, best_of_shared_boxes, detections
from cnnvision.ops.images import on_mesh, per_image
from cnnvision.programs.traffic import collectives
from cnnvision.training.sharding import make_mesh
from tests.ops.drawn_boxes import whole_boxes
from tests.reference import nms as reference

NMS = jax.jit(ops.nms, static_argnums=3)
OVERLAPS = jax.jit(lambda a, b: ops.pairwise(ops.iou, a, b))
DETECT = jax.jit(best_of_classes, static_argnums=(3, 4))
SHARED = jax.jit(best_of_shared_boxes, static_argnums=(3, 4))


def crowded(rng, count):
    """Clusters of boxes that overlap in chains: the worst case for a suppression in parallel."""
    centres = rng.uniform(0, 60, (count, 2)) * rng.choice([0.2, 1.0])
    sides = rng.uniform(5, 25, (count, 2))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_what_stays_equals_the_reference(threshold):
    rng = np.random.default_rng(round(threshold * 10))
    exact = 0
    for case in range(170):
        boxes = whole_boxes(rng, 60, side=9) if case % 2 else crowded(rng, 60)
        scores = (rng.integers(0, 12, 60) / 12 if case % 3 else rng.normal(size=60)).astype(np.float32)
        valid = rng.random(60) < 0.8
        expected = np.zeros(60, bool)
        expected[reference.nms(boxes, scores, valid, threshold)] = True
        np.testing.assert_array_equal(NMS(jnp.array(boxes), jnp.array(scores), jnp.array(valid), threshold), expected)
        overlaps = np.asarray(OVERLAPS(jnp.array(boxes), jnp.array(boxes)))
        exact += int((overlaps == np.float32(threshold)).sum())
    assert exact > 50 or threshold in (0.1, 0.7)


def test_the_threshold_is_not_rounded():
    """0.3 is not a float32: the nearest one is greater. An IoU of exactly that is greater than 0.3, too."""
    assert float(ops.rounded_down(0.3)) < 0.3 < float(np.float32(0.3)) and float(ops.rounded_down(0.5)) == 0.5
    boxes = jnp.array([[0, 0, 10, 1], [0, 0, 3, 1]], jnp.float32)  # IoU 3/10
    scores, valid = jnp.array([1.0, 0.5]), jnp.array([True, True])
    assert ops.nms(boxes, scores, valid, 0.3).tolist() == reference_stays(boxes, 0.3)
    assert ops.nms(boxes, scores, valid, 0.31).tolist() == [True, True]
    half = jnp.array([[0, 0, 2, 1], [0, 0, 1, 1]], jnp.float32)
    assert ops.nms(half, scores, valid, 0.5).tolist() == [True, True]


def reference_stays(boxes, threshold):
    stay = reference.nms(np.asarray(boxes), [1.0, 0.5], [True, True], threshold)
    return [i in stay for i in range(2)]


@pytest.mark.parametrize("count", [0, 1, 50, 51, 130])
def test_blocks_change_nothing(monkeypatch, count):
    monkeypatch.setattr(ops, "BLOCK", 25)
    rng = np.random.default_rng(count)
    for _ in range(5):
        boxes, scores, valid = crowded(rng, count), rng.random(count).astype(np.float32), rng.random(count) < 0.9
        expected = np.zeros(count, bool)
        expected[reference.nms(boxes, scores, valid, 0.3)] = True
        found = ops.nms(jnp.array(boxes).reshape(-1, 4), jnp.array(scores), jnp.array(valid), 0.3)
        np.testing.assert_array_equal(found, expected)


def test_a_chain_is_settled_to_its_end():
    """Each box overlaps the next one alone: every second one stays, and that takes as many rounds as there are boxes."""
    x = np.arange(40, dtype=np.float32) * 4
    boxes = jnp.array(np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1))
    stays = NMS(boxes, jnp.array(-x), jnp.ones(40, bool), 0.4)
    assert stays.tolist() == [True, False] * 20


@pytest.mark.parametrize(("classes", "most"), [(1, 5), (4, 10), (3, 100)])
def test_detections_equal_the_reference(classes, most):
    rng = np.random.default_rng(classes)
    for case in range(150):
        boxes = np.stack([whole_boxes(rng, 30, 10) if case % 2 else crowded(rng, 30) for _ in range(classes)], axis=1)
        scores = (rng.integers(0, 8, (30, classes)) / 8 if case % 3 else rng.random((30, classes))).astype(np.float32)
        valid = (scores > 0.1) & (rng.random((30, classes)) < (0.1 if case % 5 == 0 else 0.9))
        expected = reference.detect(boxes, scores, valid, 0.5, most)
        found = DETECT(jnp.array(boxes), jnp.array(scores), jnp.array(valid), 0.5, most)
        index, labels, scores_found, stays = found
        assert stays.tolist() == [True] * len(expected) + [False] * (most - len(expected))
        rows = list(zip(*(np.asarray(x)[: len(expected)] for x in (index, labels, scores_found)), strict=True))
        assert rows == expected
        for array in (index, labels, scores_found):
            assert not np.asarray(array)[len(expected) :].any()


@pytest.mark.parametrize("candidates", [1, 6, 30, 100])
@pytest.mark.parametrize("shared", [True, False])
def test_the_best_of_each_class_alone_take_part(candidates, shared):
    """Those beyond neither stay nor suppress; a box may be that of one class, or of all. Ties: the first."""
    rng = np.random.default_rng(candidates)
    run = jax.jit(detections, static_argnums=4)
    settings = DetectionSettings(score_above=0.1, threshold=0.4, most=20, candidates=candidates)
    for case in range(40):
        boxes = np.stack([np.clip(crowded(rng, 30), 0, 70) for _ in range(1 if shared else 3)], axis=1)
        scores = (rng.integers(0, 8, (30, 3)) / 8 if case % 2 else rng.random((30, 3))).astype(np.float32)
        valid = rng.random(30) < 0.8
        whole = np.broadcast_to(boxes, (30, 3, 4))
        counts = (scores > 0.1) & valid[:, None] & ((whole[..., 2:] - whole[..., :2]) >= 0.01).all(axis=-1)
        for column, of_class in zip(counts.T, scores.T, strict=True):
            column[sorted(np.flatnonzero(column), key=lambda i: -of_class[i])[candidates:]] = False
        expected = reference.detect(whole, scores, counts, 0.4, 20)
        found = jax.device_get(run(jnp.array(boxes), jnp.array(scores), jnp.array(valid), jnp.array([70, 70]), settings))
        assert found.valid.tolist() == [True] * len(expected) + [False] * (20 - len(expected))
        for row, (index, label, score) in enumerate(expected):
            assert (found.labels[row], found.scores[row]) == (label, score)
            np.testing.assert_array_equal(found.boxes[row], whole[index, label])


def test_images_stay_on_their_devices():
    rng = np.random.default_rng(0)
    boxes = jnp.array(np.stack([crowded(rng, 40) for _ in range(8)]))
    scores, valid = jnp.array(rng.random((8, 40)).astype(np.float32)), jnp.ones((8, 40), bool)

    def stage(boxes, scores, valid):
        stays = per_image(lambda *each: ops.nms(*each, 0.4), boxes, scores, valid)
        few = lambda b, s, v: best_of_classes(b[:, None], s[:, None], v[:, None], 0.4, 7)
        return stays, per_image(few, boxes, scores, valid)

    expected, mesh = jax.jit(stage)(boxes, scores, valid), make_mesh()
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    split = jax.device_put((boxes, scores, valid), rows)
    program = jax.jit(on_mesh(stage, mesh)).lower(*split).compile()
    assert not collectives(program.as_text())
    jax.tree.map(np.testing.assert_array_equal, program(*split), expected)


@pytest.mark.parametrize(("most", "threshold"), [(7, 0.5), (100, 0.3), (200, 0.0)])
def test_boxes_that_classes_share_are_suppressed_as_if_they_did_not(most, threshold):
    """Ties, boxes that are equal, classes without a box; more asked for than there is."""
    rng = np.random.default_rng(most)
    for case in range(60):
        boxes = whole_boxes(rng, 40, side=9) if case % 2 else crowded(rng, 40)
        scores = (rng.integers(0, 9, (40, 4)) / 9 if case % 3 else rng.random((40, 4))).astype(np.float32)
        valid = (rng.random((40, 4)) < 0.8) & np.array([True, True, case % 5 > 0, True])
        given = jnp.array(boxes), jnp.array(scores), jnp.array(valid)
        wide = jnp.broadcast_to(given[0][:, None], (40, 4, 4))
        expected, found = DETECT(wide, *given[1:], threshold, most), SHARED(*given, threshold, most)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
