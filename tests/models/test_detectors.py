"""What holds for the detectors beyond the laws: boxes there and back, proposals in their order, configs that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.models.random_crops import outside, within
from cnnvision.ops.boxes import to_fractions
from cnnvision.ops.nms import nms
from tests.models.tasks import make_batch, model_of, prepared, task_of
from tests.ops.drawn_boxes import random_boxes

NMS = jax.jit(nms, static_argnums=3)
PROPOSING = ("random_crops", "rcnn", "fast_rcnn")


def test_boxes_into_crops_and_back():
    rng = np.random.default_rng(0)
    boxes, crops = (np.abs(random_boxes(rng, 50)) for _ in range(2))
    crops = np.sort(crops.reshape(-1, 2, 2), axis=1).reshape(-1, 4) + np.array([0, 0, 5, 5], np.float32)
    inside = within(jnp.array(boxes), jnp.array(crops), 32)
    np.testing.assert_allclose(outside(to_fractions(inside, 32, 32), jnp.array(crops)), boxes, atol=1e-2)
    by_hand = within(jnp.array([[10.0, 20, 30, 40]]), jnp.array([[0.0, 20, 40, 60]]), 32)
    np.testing.assert_allclose(by_hand, [[8, 0, 24, 16]])


@pytest.mark.parametrize("name", PROPOSING)
def test_what_is_no_proposal_changes_nothing(name):
    task, params, state, gradient, predict = prepared(name)
    batch = make_batch(task)
    noisy = batch.proposals.boxes + jnp.where(batch.proposals.valid[..., None], 0.0, 7.0)
    other = batch.replace(proposals=batch.proposals.replace(boxes=noisy))
    jax.tree.map(np.testing.assert_array_equal, predict(params, state, batch), predict(params, state, other))
    found = [gradient(params, state, b, jax.random.key(0), True) for b in (batch, other)]
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize("name", PROPOSING)
def test_the_order_of_proposals_does_not_matter(name):
    task, params, state, _, predict = prepared(name)
    batch = make_batch(task)
    order = np.random.default_rng(0).permutation(batch.proposals.valid.shape[1])
    shuffled = jax.tree.map(lambda x: x[:, order], batch.proposals)
    first, second = predict(params, state, batch), predict(params, state, batch.replace(proposals=shuffled))
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
    np.testing.assert_array_equal(first.valid, second.valid)


@pytest.mark.parametrize("name", (*PROPOSING, "faster_rcnn"))
def test_detections_are_whole_ranked_and_suppressed(name):
    task, params, state, _, predict = prepared(name)
    found = jax.device_get(predict(params, state, make_batch(task)))
    assert found.valid.any() and found.boxes.shape == (4, 100, 4) and found.labels.dtype == np.int32
    for boxes, labels, scores, valid in zip(found.boxes, found.labels, found.scores, found.valid, strict=True):
        assert (np.diff(scores) <= 0).all() and (np.diff(valid.astype(int)) <= 0).all()
        assert (scores[valid] > 0.05).all() and not scores[~valid].any() and not boxes[~valid].any()
        assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[valid, :2] < boxes[valid, 2:]).all()
        for k in range(3):
            mine = valid & (labels == k)
            stays = NMS(jnp.array(boxes), jnp.array(scores), jnp.array(mine), 0.5)
            np.testing.assert_array_equal(stays, mine)


def test_a_box_loss_without_weight_moves_no_boxes():
    for name in ("fast_rcnn", "faster_rcnn"):
        _, params, state, _, _ = prepared(name)
        task = task_of(name, lambda_box=0.0)
        slope = jax.jit(jax.grad(lambda p, t=task, s=state: t.loss(p, s, make_batch(t), jax.random.key(0), True)[0].value()))
        gradients = slope(params)
        assert not jnp.any(gradients["box_head"]["box"]["kernel"]) and jnp.any(gradients["box_head"]["class"]["kernel"])


RANDOM = {"method": "random", "most": 20}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fast_rcnn", {"neck": "fnp"}, "did you mean|fpn"),
        ("fast_rcnn", {"strides": (4, 16)}, "twice the one before|strides"),
        ("fast_rcnn", {"neck": "none"}, "without a neck there must be one"),
        ("fast_rcnn", {"strides": ()}, "a pyramid needs one at least"),
        ("faster_rcnn", {"strides": ()}, "a pyramid needs one at least"),
        ("fast_rcnn", {"regions": {"pooling": "max"}}, "pooled by"),
        ("fast_rcnn", {"proposals": {"method": "edge", "most": 20}}, "method"),
        ("fast_rcnn", {"proposals": {"method": "sliding", "most": 20, "scales": ()}}, "scales"),
        ("random_crops", {"proposals": {**RANDOM, "scales": (0.1, 0.5, 1.0)}}, "least, most"),
        ("random_crops", {"proposals": {**RANDOM, "ratios": (2.0, 0.5)}}, "least, most"),
        ("faster_rcnn", {"anchors": {"sizes": ((12,), (24,)), "ratios": (1.0,)}}, r"a tuple of sizes for each of 3 maps"),
        ("faster_rcnn", {"anchors": {"sizes": ((12,), (24,), (3, 4)), "ratios": (1.0,)}}, "equally many"),
        ("random_crops", {"side": 30}, "side = 30: must be a multiple"),
        ("random_crops", {"chunk": 7}, "must divide"),
        ("random_crops", {"regions": {"share": 1.5}}, r"regions\.share"),
        ("fast_rcnn", {"max_objects": 0}, "max_objects"),
        ("fast_rcnn", {"regions": {"samples": -1}}, r"regions\.samples = -1: must be"),
        ("fast_rcnn", {"regions": {"size": 0}}, r"regions\.size"),
        ("fast_rcnn", {"regions": {"beta": 0}}, r"regions\.beta = 0: must be a number"),
        ("fast_rcnn", {"regions": {"hidden": (16.5,)}}, r"hidden = 16.5: must be a whole number"),
        (
            "fast_rcnn",
            {"regions": {"negative_from": 0.9}},
            r"regions\.negative_from = 0.9: must be below",
        ),
        ("fast_rcnn", {"width": 0}, r"model\.width"),
        (
            "fast_rcnn",
            {"proposals": {"method": "sliding", "most": 20, "scales": (0.5, None)}},
            "scales = None: must be a number",
        ),
        ("faster_rcnn", {"anchors": {"sizes": (12, 24, 48), "ratios": (1.0,)}}, r"sizes = 12: must be a tuple"),
        ("faster_rcnn", {"anchors": {"sizes": 12, "ratios": (1.0,)}}, r"sizes = 12: must be a tuple"),
        ("faster_rcnn", {"anchors": {"sizes": ((12,), (24,), (-3,)), "ratios": (1.0,)}}, r"sizes = -3: must be a number"),
        (
            "faster_rcnn",
            {"anchors": {"sizes": ((12,), (24,), (48,)), "ratios": ()}},
            r"ratios = \(\): must have one at least",
        ),
        ("faster_rcnn", {"rpn": {"number": -5}}, r"rpn\.number"),
        ("faster_rcnn", {"proposals": {"most": 0}}, r"proposals\.most"),
        ("faster_rcnn", {"proposals": {"threshold": 70}}, r"proposals\.threshold"),
        ("rcnn", {"context": 16}, "context"),
        ("rcnn", {"svm": {"C": 0.0}}, r"svm\.C"),
        ("rcnn", {"boxes": {"number": 0}}, r"boxes\.number"),
    ],
)
def test_what_cannot_be_built_is_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        task_of(name, **changes)


@pytest.mark.parametrize("pooling", ["max", "align"])
def test_one_map_without_a_neck(pooling):
    task = task_of(
        "fast_rcnn", neck="none", strides=(8,), regions={**model_of("fast_rcnn").regions.to_dict(), "pooling": pooling}
    )
    batch = make_batch(task)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    assert "neck" not in params
    loss = jax.jit(lambda p: task.loss(p, state, batch, jax.random.key(0), True)[0].value())(params)
    assert np.isfinite(loss) and jax.eval_shape(task.predict, params, state, batch).boxes.shape == (4, 100, 4)
