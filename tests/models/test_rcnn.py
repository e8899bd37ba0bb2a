"""R-CNN's second and third stage, on a network that was never trained: what they are fitted to, and what they change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.models.rcnn import examples_of_classes
from cnnvision.ops.nms import nms
from cnnvision.types import ObjectTarget
from tests.models.tasks import CLASSES, make_batch, prepared
from tests.reference.boxes import iou


def target_of(boxes, labels, crowd):
    return ObjectTarget(
        boxes=jnp.array(boxes, jnp.float32), labels=jnp.array(labels), valid=jnp.array([True, True, True, False]),
        crowd=jnp.array(crowd, bool),
    )  # fmt: skip


def test_examples_of_classes_by_hand():
    """Class 0: an object and a crowd; class 1: an object; of class 2 nothing but padding."""
    target = target_of([[0, 0, 10, 10], [20, 20, 30, 30], [0, 50, 50, 90], [0, 0, 10, 10]], [0, 1, 0, 2], [0, 0, 1, 0])
    proposals = jnp.array(
        [
            [0, 0, 10, 10],  # the first object's box: neither for class 0
            [0, 0, 10, 30],  # IoU 1/3 with it: neither
            [0, 0, 10, 34],  # IoU 0.294: background
            [20, 20, 30, 30],
            [10, 60, 20, 70],  # within the crowd
            [90, 90, 99, 99],
            [90, 90, 99, 99],  # no proposal
        ],
        jnp.float32,
    )
    there = jnp.array([True] * 6 + [False])
    positive, negative = examples_of_classes(proposals, there, target, 3, 0.3)
    assert positive.shape == negative.shape == (11, 3)
    np.testing.assert_array_equal(np.argwhere(positive), [[7, 0], [8, 1]])  # the objects' own boxes, no crowd
    absent = {k: set(np.flatnonzero(negative[:, k])) for k in range(3)}
    assert absent[0] == {2, 3, 5, 8}
    assert absent[1] == {0, 1, 2, 4, 5, 7}
    assert absent[2] == {0, 1, 2, 3, 4, 5, 7, 8}


def batch_with_near_proposals(task, seed):
    """Twelve of twenty proposals lie on objects, more or less."""
    batch, rng = make_batch(task, seed), np.random.default_rng(seed)
    objects = np.asarray(batch.target.boxes)[:, np.arange(12) % 3]
    near = np.clip(objects + rng.normal(size=objects.shape) * 2, 0, 64).astype(np.float32)
    near = np.sort(near.reshape(4, 12, 2, 2), axis=2).reshape(4, 12, 4)
    return batch.replace(proposals=batch.proposals.replace(boxes=batch.proposals.boxes.at[:, :12].set(near)))


@pytest.fixture(scope="module")
def stages():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        task, params, state, _, predict = prepared("rcnn")
        batches, after = [batch_with_near_proposals(task, seed) for seed in range(3)], [params]
        for stage in task.host_stages:
            outputs = jax.jit(stage.outputs)
            found = [jax.device_get(outputs(after[-1], state, batch)) for batch in batches]
            after.append(stage.fit(after[-1], lambda found=found: iter(found)))
            after[-1]["found"] = found
    return task, state, batches, after, predict


def without(params):
    return {name: leaf for name, leaf in params.items() if name != "found"}


def test_a_stage_changes_its_own_parameters_alone(stages):
    _, _, _, after, _ = stages
    for before, params, name in zip(after, after[1:], ("svm", "boxes"), strict=False):
        same = lambda key: jax.tree.all(jax.tree.map(np.array_equal, before[key], params[key]))  # noqa: B023
        changed = {key for key in without(params) if not same(key)}
        assert changed == {name}
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), before[name], params[name])


def test_svms_score_what_the_softmax_scored_before(stages):
    _, state, batches, after, predict = stages
    first, second = (predict(without(params), state, batches[0]) for params in after[:2])
    batch = batches[0]
    for found in (first, second):  # every box is a proposal, clipped
        clipped = np.clip(batch.proposals.boxes, 0, 64)
        for row in range(4):
            for box in np.asarray(found.boxes[row])[np.asarray(found.valid[row])]:
                assert np.abs(clipped[row] - box).max(1).min() < 1e-3
    assert not np.array_equal(first.scores, second.scores)


def test_scores_keep_the_order_of_the_margins(stages):
    """The best score of an image without a suppression is that of its highest margin, by NumPy."""
    _, state, batches, after, predict = stages
    params, batch = without(after[1]), batches[1]
    outputs = after[1]["found"][1]
    margins = outputs["features"][:, :20] @ params["svm"]["kernel"] + params["svm"]["bias"]
    margins[~np.asarray(batch.proposals.valid)] = -np.inf
    best = 1 / (1 + np.exp(-margins.reshape(4, -1).max(1)))
    np.testing.assert_allclose(predict(params, state, batch).scores[:, 0], best, rtol=1e-4)


def test_regions_to_regress_from_overlap_an_object_enough_and_their_deltas_lead_to_it(stages):
    """Drawn among all of them: not the nearest alone, and the same ones wherever the image stands in a batch."""
    task, state, batches, after, _ = stages
    backwards = jax.tree.map(lambda leaf: leaf[::-1], batches[0])
    again = jax.jit(task.host_stages[1].outputs)(without(after[1]), state, backwards)
    np.testing.assert_array_equal(again["deltas"][::-1], after[2]["found"][0]["deltas"])
    counted, nearest = 0, 0
    for batch, found in zip(batches, after[2]["found"], strict=True):
        for row in range(4):
            proposals = np.asarray(batch.proposals.boxes[row])[np.asarray(batch.proposals.valid[row])]
            overlaps = np.array([[iou(p, o) for o in np.asarray(batch.target.boxes[row])] for p in proposals])
            expected = {}
            for place in np.flatnonzero(overlaps.max(1) >= 0.6):
                object_ = overlaps[place].argmax()
                (x1, y1, x2, y2), (a1, b1, a2, b2) = proposals[place], np.asarray(batch.target.boxes[row, object_])
                expected[place] = [((a1 + a2) - (x1 + x2)) / 2 / (x2 - x1), ((b1 + b2) - (y1 + y2)) / 2 / (y2 - y1),
                                   np.log((a2 - a1) / (x2 - x1)), np.log((b2 - b1) / (y2 - y1))]  # fmt: skip
            valid, drawn = found["valid"][row], []
            assert valid.sum() == min(5, len(expected))
            counted += valid.sum()
            for index in np.flatnonzero(valid):
                off = {place: np.abs(found["deltas"][row, index] - deltas).max() for place, deltas in expected.items()}
                drawn.append(min(off, key=off.get))
                assert off[drawn[-1]] < 1e-4
                label = batch.target.labels[row, overlaps[drawn[-1]].argmax()]
                assert found["labels"][row, index] == label
            assert len(set(drawn)) == len(drawn)
            best = sorted(expected, key=lambda place: -overlaps[place].max())[:5]
            nearest += set(drawn) == set(best) and len(expected) > 5
    assert counted > 20 and nearest < 4


def test_boxes_move_by_the_regression_of_their_class_and_are_suppressed_after_it(stages):
    _, state, batches, after, predict = stages
    params = without(after[2])
    shift = np.array([0.25, 0, 0, 0], np.float32)  # a quarter of the width to the right, for class 1 alone
    bias = np.where(np.arange(len(CLASSES))[:, None] == 1, shift, 0).astype(np.float32)
    shifting = {**params, "boxes": {"kernel": jnp.zeros_like(params["boxes"]["kernel"]), "bias": jnp.asarray(bias)}}
    found, batch = predict(shifting, state, batches[0]), batches[0]
    for row in range(4):
        proposals = np.asarray(batch.proposals.boxes[row])
        moved = proposals + 0.25 * (proposals[:, 2:3] - proposals[:, :1]) * [1, 0, 1, 0]
        labels, valid = np.asarray(found.labels[row]), np.asarray(found.valid[row])
        for k, places in ((0, proposals), (1, moved), (2, proposals)):
            mine = valid & (labels == k)
            for box in np.asarray(found.boxes[row])[mine]:
                assert np.abs(np.clip(places, 0, 64) - box).max(1).min() < 1e-3
            np.testing.assert_array_equal(nms(found.boxes[row], found.scores[row], jnp.array(mine), 0.5), mine)
    assert (np.asarray(found.labels)[np.asarray(found.valid)] == 1).any()
