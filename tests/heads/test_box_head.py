"""heads/box_head.py: regions drawn, their loss, and what is found, against slow versions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.heads import box_head
from cnnvision.ops.boxes import encode
from cnnvision.ops.detections import DetectionSettings, detections
from cnnvision.types import ObjectTarget
from tests.ops.drawn_boxes import random_boxes
from tests.reference import anchors as reference_deltas
from tests.reference import boxes as reference
from tests.reference import nms as reference_nms

TERMS = jax.jit(box_head.box_head_terms, static_argnames="beta")


def target_of(boxes, labels, valid=None, crowd=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    alike = lambda given, value: jnp.full(len(boxes), value) if given is None else jnp.array(given)
    return ObjectTarget(jnp.array(boxes), jnp.array(labels, jnp.int32), alike(valid, True), alike(crowd, False))


def test_a_sample_is_what_the_paper_says():
    """Positive from 0.5, background from 0.1 to 0.5, of 16 a quarter positive; objects are regions, crowds and gaps none."""
    rng = np.random.default_rng(0)
    objects = np.array([[10, 10, 50, 50], [60, 60, 90, 100], [0, 60, 30, 90], [70, 0, 110, 40]], np.float32)
    target = target_of(objects, [2, 0, 1, 1], valid=[True, True, True, False], crowd=[False, False, True, False])
    near = np.repeat(objects, 10, axis=0) + rng.normal(0, 6, (40, 4)).astype(np.float32)
    proposals = np.concatenate([near, random_boxes(rng, 40)]).astype(np.float32)
    valid = rng.random(80) < 0.8
    settings = box_head.SamplingSettings(number=16, share=0.25, negative_from=0.1)
    draw = jax.jit(lambda key, p, v: box_head.sample_regions(key, p, v, target, settings))
    regions = np.concatenate([proposals, objects])
    there = np.concatenate([valid, [True, True, False, False]])
    seen = np.zeros((84, 2), bool)
    for seed in range(60):
        sample = jax.device_get(draw(jax.random.key(seed), jnp.array(proposals), jnp.array(valid)))
        assert sample.positive.sum() == 4 and sample.valid.all()
        chosen = [int(np.flatnonzero((regions == box).all(axis=1))[0]) for box in sample.boxes]
        assert len({*chosen}) == 16
        for at, positive, index in zip(chosen, sample.positive, sample.object, strict=True):
            overlaps = [reference.iou(regions[at], box) for box in objects[:2]]  # the countable ones
            assert there[at]
            assert (max(overlaps) >= 0.5) if positive else (0.1 <= max(overlaps) < 0.5)
            assert not positive or index == int(np.argmax(overlaps))
            seen[at, int(positive)] = True
    drawable = np.array([max(reference.iou(box, other) for other in objects[:2]) for box in regions])
    covered = np.array([reference.intersection(box, objects[2]) / max(reference.area(box), 1e-9) for box in regions])
    np.testing.assert_array_equal(seen[:, 1], there & (drawable >= 0.5))
    np.testing.assert_array_equal(seen[:, 0], there & (drawable >= 0.1) & (drawable < 0.5) & (covered < 0.7))
    assert seen[80:82, 1].all()


def test_a_sample_of_nothing():
    draw = jax.jit(box_head.sample_regions, static_argnames="settings")
    nothing = target_of(np.zeros((2, 4)), [0, 0], [False, False])
    settings = box_head.SamplingSettings(number=8)
    sample = draw(jax.random.key(0), jnp.zeros((5, 4)), jnp.zeros(5, bool), nothing, settings=settings)
    assert not sample.valid.any() and not sample.positive.any() and not sample.boxes.any()


def slow_terms(logits, deltas, sample, target, beta):
    entropy = box = count = 0.0
    for row in range(len(logits)):
        if not sample.valid[row]:
            continue
        count += 1
        positive, k = sample.positive[row], int(sample.object[row])
        label = int(target.labels[k]) + 1 if positive else 0
        row_logits = np.asarray(logits[row], np.float64)
        entropy += np.log(np.exp(row_logits - row_logits.max()).sum()) + row_logits.max() - row_logits[label]
        if positive:
            truth, region = (tuple(np.asarray(x, np.float64)) for x in (target.boxes[k], sample.boxes[row]))
            wanted = reference_deltas.encode(truth, region, (10.0, 10.0, 5.0, 5.0))
            for d in np.abs(np.asarray(deltas[row, label], np.float64) - wanted):
                box += 0.5 * d * d / beta if d < beta else d - 0.5 * beta
    return entropy / count, box / count


@pytest.mark.parametrize("beta", [1.0, 1.0 / 9.0])
def test_the_loss_equals_a_slow_version(beta):
    rng = np.random.default_rng(1)
    objects = np.array([[10, 10, 50, 50], [60, 60, 90, 100]], np.float32)
    target = target_of(objects, [2, 0])
    for seed in range(10):
        boxes = np.abs(random_boxes(rng, 12)) + np.array([0, 0, 200, 200], np.float32)
        valid = np.arange(12) < 10
        sample = box_head.RegionSample(boxes, rng.integers(0, 2, 12).astype(np.int32), np.arange(12) < 4, valid)
        logits = rng.normal(size=(12, 4)).astype(np.float32) * 3
        deltas = rng.normal(size=(12, 4, 4)).astype(np.float32)
        found = TERMS(*jax.tree.map(jnp.asarray, (logits, deltas, sample, target)), beta=beta)
        expected = slow_terms(logits, deltas, sample, target, beta)
        np.testing.assert_allclose([found["class"].value(), found["box"].value()], expected, rtol=1e-5), seed
        assert found["class"].count == found["box"].count == 10


def test_only_the_true_class_of_positive_regions_is_moved():
    target = target_of([[10, 10, 50, 50]], [1])
    boxes = jnp.array([[12.0, 8, 52, 48], [60, 60, 90, 90], [0, 0, 0, 0]])
    sample = box_head.RegionSample(
        boxes, jnp.zeros(3, jnp.int32), jnp.array([True, False, False]), jnp.array([True, True, False])
    )

    def total(logits, deltas):
        terms = box_head.box_head_terms(logits, deltas, sample, target)
        return terms["class"].value() + terms["box"].value()

    of_logits, of_deltas = jax.jit(jax.grad(total, (0, 1)))(jnp.zeros((3, 4)), jnp.ones((3, 4, 4)))
    assert jnp.any(of_deltas[0, 2] != 0) and not jnp.any(of_deltas.at[0, 2].set(0.0))
    assert jnp.all(jnp.any(of_logits[:2] != 0, axis=1)) and not jnp.any(of_logits[2])
    assert of_logits[0, 2] < 0 and of_logits[1, 0] < 0


def found_in(logits, deltas, regions, valid, size, settings):
    boxes, scores = box_head.class_boxes_and_scores(logits, deltas, regions)
    return detections(boxes, scores, valid, jnp.array(size), settings)


def test_what_is_found_equals_a_slow_version():
    rng = np.random.default_rng(2)
    settings = DetectionSettings(score_above=0.1, threshold=0.4, most=7)
    run = jax.jit(lambda logits, d, r, v: found_in(logits, d, r, v, [100, 80], settings))
    for _ in range(20):
        regions = np.abs(random_boxes(rng, 15))
        regions = np.concatenate([np.minimum(regions[:, :2], regions[:, 2:]), np.maximum(regions[:, :2], regions[:, 2:])], 1)
        logits = (rng.normal(size=(15, 4)) * 2).astype(np.float32)
        deltas = rng.normal(size=(15, 4, 4)).astype(np.float32)
        valid = rng.random(15) < 0.8
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        boxes = np.array([[reference_deltas.decode(d, r, (10.0, 10.0, 5.0, 5.0)) for d in row]
                          for row, r in zip(deltas.astype(float), regions.astype(float), strict=True)])[:, 1:]  # fmt: skip
        boxes = np.clip(boxes, 0, [80, 100, 80, 100])
        whole = ((boxes[..., 2:] - boxes[..., :2]) >= 0.01).all(axis=-1)
        taking_part = (scores[:, 1:] > 0.1) & whole & valid[:, None]
        expected = reference_nms.detect(boxes, scores[:, 1:], taking_part, 0.4, 7)
        found = jax.device_get(run(logits, deltas, regions, valid))
        assert found.valid.tolist() == [True] * len(expected) + [False] * (7 - len(expected))
        for row, (index, label, score) in enumerate(expected):
            assert found.labels[row] == label
            np.testing.assert_allclose(found.scores[row], score, rtol=1e-5)
            np.testing.assert_allclose(found.boxes[row], boxes[index, label], atol=1e-3)
        assert not found.boxes[len(expected) :].any() and not found.scores[len(expected) :].any()


def test_the_head_s_outputs_belong_to_their_classes():
    """What the last layers give: logits in the order background, classes; four deltas of each."""
    head = box_head.BoxHead(classes=2, hidden=(5,))
    pooled = jnp.ones((1, 3, 2, 2, 4))
    params = head.init(jax.random.key(0), pooled, False)["params"]
    assert params["hidden0"]["kernel"].shape == (16, 5)
    params["class"]["kernel"], params["box"]["kernel"] = jnp.zeros((5, 3)), jnp.zeros((5, 12))
    params["class"]["bias"], params["box"]["bias"] = jnp.arange(3.0), jnp.arange(12.0)
    logits, deltas = head.apply({"params": params}, pooled, False)
    assert logits[0, 1].tolist() == [0, 1, 2] and deltas[0, 1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    labels = box_head.with_background(jnp.array([0, 1, 1]), jnp.array([True, True, False]))
    assert labels.tolist() == [1, 2, 0]


def test_the_truth_s_deltas_find_the_truth():
    objects, regions = np.array([[10, 10, 50, 50], [60, 60, 90, 100]]), np.array([[12, 8, 52, 48], [55, 60, 95, 95]])
    deltas = np.zeros((2, 3, 4), np.float32)
    deltas[[0, 1], [2, 1]] = encode(jnp.array(objects, jnp.float32), jnp.array(regions, jnp.float32), box_head.DELTA_WEIGHTS)
    logits = np.full((2, 3), -9, np.float32)
    logits[[0, 1], [2, 1]] = [5, 4]
    run = jax.jit(lambda *arrays: found_in(*arrays, [120, 120], DetectionSettings()))
    found = run(jnp.array(logits), jnp.array(deltas), jnp.array(regions, jnp.float32), jnp.ones(2, bool))
    assert found.labels[:2].tolist() == [1, 0] and found.valid.sum() == 2 and len(found.valid) == 100
    np.testing.assert_allclose(found.boxes[:2], objects, atol=1e-3)


@pytest.mark.parametrize("pooling", ["max", "align"])
def test_pooling_goes_where_the_config_says(pooling):
    from cnnvision.ops.roi_align import pyramid_roi_align, roi_align
    from cnnvision.ops.roi_pool import roi_pool

    rng = np.random.default_rng(3)
    maps = {8: jnp.array(rng.normal(size=(12, 16, 3)), jnp.float32), 16: jnp.array(rng.normal(size=(6, 8, 3)), jnp.float32)}
    boxes = jnp.array([[3.0, 4, 70, 60], [0, 0, 127, 95]])
    of_one = roi_pool if pooling == "max" else lambda *of: roi_align(*of, 2)
    settings = box_head.RegionSettings(pooling=pooling, size=4, samples=2)
    pairs = jax.jit(lambda maps: (
        (box_head.pool_regions({16: maps[16]}, boxes, settings), of_one(maps[16], boxes, 16, 4)),
        (box_head.pool_regions(maps, boxes, settings), pyramid_roi_align(maps, boxes, 4, 2)),
    ))(maps)  # fmt: skip
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
