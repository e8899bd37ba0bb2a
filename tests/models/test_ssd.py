"""What holds for SSD beyond the laws: any backbone, detections, the ceiling, the divisor of the loss, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.models import ssd
from cnnvision.models.binding import bind, normalized
from cnnvision.ops.nms import nms
from cnnvision.settings import read
from tests.models.tasks import CLASSES, make_batch, model_of, prepared, task_of


def stages_of(**changes):
    settings = read(ssd.Settings, {**model_of("ssd").to_dict(), **changes}, "config.model")
    network = ssd.make_network(settings, len(CLASSES))
    boxes = {(64, 64): ssd.boxes_of(network, settings.default_boxes, (64, 64))}
    images = normalized(network.backbone)
    return ssd.Stages(settings, len(CLASSES), bind(network, images)[1], images, boxes)


def test_detections_are_whole_ranked_and_suppressed():
    task, params, state, _, predict = prepared("ssd")
    found = jax.device_get(predict(params, state, make_batch(task)))
    assert found.valid.any() and found.boxes.shape == (4, 30, 4) and found.labels.dtype == np.int32
    for boxes, labels, scores, valid in zip(found.boxes, found.labels, found.scores, found.valid, strict=True):
        assert (np.diff(scores) <= 0).all() and (np.diff(valid.astype(int)) <= 0).all()
        assert (scores[valid] > 0.01).all() and not scores[~valid].any() and not boxes[~valid].any()
        assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[valid, :2] < boxes[valid, 2:]).all()
        for k in range(3):
            mine = valid & (labels == k)
            np.testing.assert_array_equal(nms(jnp.array(boxes), jnp.array(scores), jnp.array(mine), 0.45), mine)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_alpha_weighs_the_boxes(alpha):
    task, (_, params, state, *_) = task_of("ssd", alpha=alpha), prepared("ssd")
    objective = lambda params: task.loss(params, state, make_batch(task), jax.random.key(0), True)
    slope, (loss, aux) = jax.jit(jax.grad(lambda p: (objective(p)[0].value(), objective(p)), has_aux=True))(params)
    terms = {name: float(aux.metrics[f"loss/{name}"].value()) for name in ("class", "box")}
    assert float(loss.value()) == pytest.approx(terms["class"] + alpha * terms["box"], rel=1e-6) and terms["box"] > 0
    assert bool(jnp.any(slope["ssd_head"]["box"]["map0"]["kernel"])) == (alpha > 0)


def test_the_loss_is_divided_by_the_matched_boxes_of_the_whole_batch():
    """Not image by image: that of two images is the weighted mean of each one's."""
    task, params, state, gradient, _ = prepared("ssd")
    batch = make_batch(task)
    rows = [jnp.arange(4) == row for row in range(4)]
    terms = lambda valid: gradient(params, state, batch.replace(valid=valid), jax.random.key(0), False)[0][1][1].metrics
    means = [terms(valid)["loss/class"] for valid in rows]
    both = terms(rows[0] | rows[1])["loss/class"]
    assert float(both.count) == sum(float(mean.count) for mean in means[:2]) and means[0].count != means[1].count
    assert float(both.total) == pytest.approx(sum(float(mean.total) for mean in means[:2]), rel=1e-4)


@pytest.mark.parametrize(
    ("backbone", "strides", "norm"),
    [
        ({"name": "small", "width": 4, "layers": 3}, (16,), "none"),
        ({"name": "small", "width": 4, "layers": 3}, (8, 16), "batch"),
        ({"name": "vgg16_dilated", "norm": "none"}, (8, 16), "none"),
        ({"name": "contracting_path", "width": 4, "depth": 3}, (2, 8), "batch"),
    ],
)
def test_any_backbone(backbone, strides, norm):
    """Sides that no stride divides, too."""
    maps = len(strides) + 1
    boxes = {"scales": tuple(np.linspace(0.1, 0.9, maps + 1)), "ratios": ((2.0,),) * maps, "steps": None}
    extra = {"maps": ((8, 3, 2, 1),), "norm": norm}
    task = task_of("ssd", size=(75, 90), backbone=backbone, strides=strides, default_boxes=boxes, extra_maps=extra)
    batch = make_batch(task)
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert ("norm1" in params["extra_maps"]["map0"]) == (norm == "batch")
    _, aux = jax.eval_shape(lambda p, s, b: task.loss(p, s, b, jax.random.key(0), True), params, state, batch)
    assert jax.tree.map(jnp.shape, aux.model_state) == jax.tree.map(jnp.shape, state)
    assert jax.eval_shape(task.predict, params, state, batch).boxes.shape == (4, 30, 4)


def test_the_ceiling_of_a_batch():
    """All of these objects, which are default boxes; none of an image that fills up the batch. Nothing of the network is in
    it, and in the padding of an image nothing is found."""
    stages = stages_of()
    boxes = stages.boxes[64, 64]
    batch = make_batch(task_of("ssd"))
    chosen = np.clip(np.stack([boxes[[0, 300, 1100]], boxes[[5, 1000, 1300]]] * 2), 0, 64)
    target = batch.target.replace(boxes=jnp.array(chosen), labels=jnp.tile(jnp.arange(3), (4, 1)))
    target = target.replace(valid=target.valid.at[3].set(False))
    size = jnp.array([[64, 64], [64, 64], [64, 40], [64, 64]])
    found = jax.device_get(jax.jit(stages.ceiling)(batch.replace(target=target, size=size)))
    assert found.valid.sum(axis=1).tolist()[::3] == [3, 0]
    for row in (0, 1):
        count = found.valid[row].sum()
        assert count == 3 and sorted(found.labels[row, :3]) == [0, 1, 2] and (found.scores[row, :3] == 1).all()
        np.testing.assert_allclose(found.boxes[row, :3], chosen[row][found.labels[row, :3]], atol=1e-3)
    assert (found.boxes[2][..., [0, 2]] <= 40).all()
    without = [label for label in range(3) if (chosen[0][label, 0] >= 40)]
    assert not set(without) & {*found.labels[2][found.valid[2]].tolist()}


BOXES = {"scales": (0.1, 0.3, 0.5, 0.8), "ratios": ((2.0,), (2.0,), ()), "steps": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": ()}, r"config\.model\.strides = \(\): must be rising"),
        ({"strides": (8, 4)}, r"strides = \(8, 4\): must be rising"),
        ({"strides": (4, 64)}, r"config\.model\.strides = 64: the backbone has maps of strides 2, 4, 8"),
        ({"default_boxes": {**BOXES, "scales": (0.1, 0.2, 0.3)}}, r"default_boxes\.scales = .*: must be 4, one for each of "
         r"3 maps, and one more \(strides, and extra_maps\.maps\)"),
        ({"default_boxes": {**BOXES, "steps": (4.0, 8.0)}}, r"default_boxes\.steps = \(4\.0, 8\.0\): must be 3"),
        ({"default_boxes": {**BOXES, "scales": (0.1, 0.3, 0.5, 0.0)}}, r"default_boxes\.scales = 0\.0: must be a number"),
        ({"extra_maps": {"maps": ((16, 3, 2, 3),)}}, r"config\.model\.extra_maps\.maps = .*padding, less than the side"),
        ({"extra_maps": {"maps": ((16, 3, 2),)}}, r"extra_maps\.maps = \(16, 3, 2\): must be a tuple of 4"),
        ({"extra_maps": {"norm": "frozen"}}, r"extra_maps\.norm: there is no 'frozen'"),
        ({"extra_maps": {"maps": ((16, 3, 1, 0),)}, "size": (15, 40)}, r"config\.data\.size = \(15, 40\): is too small for "
         r"config\.model\.extra_maps\.maps\[0\] = \(16, 3, 1, 0\): the map before it has 2×5 positions, which is too few"),
        ({"matching": {"negatives": -1.0}}, r"matching\.negatives = -1\.0: must be a number"),
        ({"detections": {"candidates": 0}}, r"detections\.candidates = 0"),
        ({"alpha": -1.0}, r"alpha"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        task_of("ssd", **changes)


def test_sizes_of_training_are_checked_too():
    extra, ratios = ((8, 3, 1, 0),) * 3, ((2.0,),) * 5
    boxes = {"scales": (0.1, 0.2, 0.3, 0.5, 0.7, 0.9), "ratios": ratios, "steps": None}
    task = task_of("ssd", extra_maps={"maps": extra}, default_boxes=boxes)
    assert task.inputs.multiple_of == 1
    with pytest.raises(ConfigError, match=r"config\.data\.more_sizes = \(40, 32\): is too small"):
        task_of("ssd", extra_maps={"maps": extra}, default_boxes=boxes, more_sizes=((40, 32),))
