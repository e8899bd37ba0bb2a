"""The laws of the task contract (cnnvision/task.py), for every model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import make_backbone
from cnnvision.models import MODELS, make_task
from cnnvision.runs.configuration import from_json, to_json
from cnnvision.runs.join import empty_batch
from cnnvision.task import DataInfo
from cnnvision.types import IGNORE, ClassTarget, ObjectTarget, Regions, SegmentationPrediction, SemanticTarget
from configs.common import detector, learnt_proposals, made_proposals, pixel_loss

CLASSES = ("circle", "square", "star")
SMALL = {"name": "small", "width": 4, "layers": 2, "norm": "batch", "frozen_stages": 0, "dtype": "float32"}
COMMON = {"backbone": SMALL, "pretrained": "", "label_smoothing": 0.1, "dropout": 0.3}
BOX = {"alpha": 0.5, "box_loss": "mean_squared_error", "box_pooling": "attention", "class_pooling": "attention", "stride": 0}
PATH = {"name": "contracting_path", "width": 4, "depth": 2, "padding": "same", "norm": "batch", "dropout": 0.3}
PIXELS = {"loss": {**pixel_loss().to_dict(), "dice": 0.5, "focal": 0.5}, "tta": "none"}
DECODER = {"widths": (), "upsampling": "transposed", "norm": "batch"}
PLAIN = {"width": 4, "dtype": "float32"}
RPN, MADE = detector("", learnt_proposals()), detector("", made_proposals())
REGIONS = {**RPN.regions.to_dict(), "number": 12, "canonical": 60, "hidden": (8,), "dropout": 0.0}
DETECTOR = {"backbone": SMALL, "pretrained": "", "neck": "fpn", "strides": (4, 8), "width": 8, "max_objects": 3,
            "regions": REGIONS, "detections": RPN.detections.to_dict(), "lambda_box": 1.0}  # fmt: skip
LEARNT = {
    "anchors": {"sizes": ((12,), (24,), (48,)), "ratios": (0.5, 1.0, 2.0)},
    "proposals": {"before_train": 30, "most_train": 20, "before": 30, "most": 20, "threshold": 0.7},
    "rpn": {**RPN.rpn.to_dict(), "number": 32},
    "lambda_rpn": 1.0,
}
CONFIGS = {
    "classifier": {"name": "classifier", **COMMON},
    "localizer": {"name": "localizer", **COMMON, **BOX},
    "patchnet": {"name": "patchnet", "kernels": (4, 4), "window": 21, "hidden": 8, "samples": 64, "run": "dense",
                 "chunk": 64, **PLAIN, **PIXELS},
    "fullres": {"name": "fullres", "depth": 3, "norm": "batch", **PLAIN, **PIXELS},
    "encdec": {"name": "encdec", "backbone": SMALL, "pretrained": "", "decoder": DECODER, **PIXELS},
    "unet": {"name": "unet", "backbone": {**PATH, "frozen_stages": 0, "dtype": "float32"}, "pretrained": "", "skips": True,
             "decoder": DECODER, **PIXELS},
    "random_crops": {"name": "random_crops", **COMMON, **BOX, "side": 32, "max_objects": 3, "chunk": 10,
                     "regions": {**REGIONS, "number": 6, "share": 0.5}, "detections": DETECTOR["detections"],
                     "proposals": {**MADE.proposals.to_dict(), "most": 20}},
    "rcnn": {"name": "rcnn", "backbone": SMALL, "pretrained": "", "dropout": 0.3, "side": 32, "context": 2, "stride": 0,
             "hidden": (8,), "max_objects": 3, "chunk": 10, "regions": {**REGIONS, "number": 6},
             "svm": {"examples": 0, "C": 0.001, "negative_below": 0.3, "passes": 1},
             "boxes": {"examples": 0, "number": 5, "positive_from": 0.6, "regularization": 1000.0},
             "detections": DETECTOR["detections"], "proposals": {**MADE.proposals.to_dict(), "most": 20}},
    "fast_rcnn": {**DETECTOR, "name": "fast_rcnn", "proposals": {**MADE.proposals.to_dict(), "most": 20}},
    "faster_rcnn": {**DETECTOR, "name": "faster_rcnn", **LEARNT},
}  # fmt: skip
RANDOM = ("classifier", "localizer", "patchnet", "unet", "random_crops", "rcnn", "fast_rcnn", "faster_rcnn")
"""Models of which training draws something, as they are set above: dropout, pixels, anchors and regions."""
SLOW = ("encdec", "faster_rcnn")
"""Models that need larger steps to learn something in forty: a few channels of four by four positions; four losses."""
DETECTORS = ("random_crops", "rcnn", "fast_rcnn", "faster_rcnn")
"""Models that learn from an image without objects, too: all of it is background."""
FITTED = ("svm", "boxes")
"""Parameters that no gradient moves: R-CNN's, of the stages after its training steps."""
ROWS = 4


def task_of(name, more_sizes=(), **model):
    data = {"size": [64, 64], "more_sizes": more_sizes, "resize": "stretch", "margin": None}
    config = {"model": {**CONFIGS[name], **model}, "data": data}
    return make_task(from_json(to_json(config)), DataInfo(CLASSES, CLASSES))


@functools.cache
def prepared(name):
    """task, params, model_state, compiled loss-and-gradient, compiled predict."""
    task = task_of(name)
    params, model_state = jax.jit(task.init)(jax.random.key(0), make_batch(task))

    def objective(params, model_state, batch, key, train):
        loss, aux = task.loss(params, model_state, batch, key, train)
        return loss.value(), (loss, aux)

    gradient = jax.jit(jax.value_and_grad(objective, has_aux=True), static_argnums=4)
    return task, params, model_state, gradient, jax.jit(task.predict)


def make_batch(task, seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    batch = empty_batch(task, rows)
    height, width = batch.image.shape[1:3]
    if isinstance(batch.target, ClassTarget):
        target = ClassTarget(rng.integers(0, len(CLASSES), rows).astype(np.int32), np.ones(rows, bool))
    elif isinstance(batch.target, SemanticTarget):
        blocks = rng.integers(0, len(CLASSES), (rows, height // 16, width // 16), dtype=np.uint8)
        target = SemanticTarget(np.kron(blocks, np.ones((16, 16), np.uint8)))
    else:
        shape = batch.target.labels.shape
        corners = np.sort(rng.uniform(0, 1, (*shape, 2, 2)), axis=2) * [width, height]
        target = ObjectTarget(
            boxes=corners.reshape(*shape, 4).astype(np.float32),
            labels=rng.integers(0, len(CLASSES), shape).astype(np.int32),
            valid=np.ones(shape, bool),
            crowd=np.zeros(shape, bool),
        )
    image = rng.integers(0, 256, batch.image.shape, dtype=np.uint8)
    if isinstance(target, SemanticTarget):  # something to see: the classes differ in brightness
        image = (image // 4 + target.labels[..., None] * np.uint8(60)).astype(np.uint8)
    if isinstance(target, ObjectTarget):
        for row, (boxes, labels) in enumerate(zip(target.boxes.astype(int), target.labels, strict=True)):
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                image[row, y1:y2, x1:x2] = image[row, y1:y2, x1:x2] // 4 + np.uint8(60 * label + 60)
    proposals = batch.proposals
    if proposals is not None:
        corners = np.sort(rng.uniform(0, 1, (*proposals.valid.shape, 2, 2)), axis=2) * [width, height]
        boxes = corners.reshape(*proposals.valid.shape, 4).astype(np.float32)
        proposals = Regions(boxes=boxes, valid=rng.random(proposals.valid.shape) < 0.9)
    batch = batch.replace(
        image=image,
        proposals=proposals,
        size=np.full((rows, 2), (height, width), np.int32),
        valid=np.ones(rows, bool),
        target=target,
    )
    return jax.tree.map(jnp.asarray, batch)


def with_noise_where(invalid, task, batch, seed=9):
    """The batch with other images and targets in the rows that are not valid."""
    other = make_batch(task, seed, len(batch.valid))
    pick = lambda a, b: jnp.where(invalid.reshape(-1, *[1] * (a.ndim - 1)), b, a)
    return batch.replace(image=pick(batch.image, other.image), target=jax.tree.map(pick, batch.target, other.target))


def nothing_in(target):
    """The target with nothing to learn from."""
    if isinstance(target, SemanticTarget):
        return target.replace(labels=jnp.full_like(target.labels, IGNORE))
    return target.replace(valid=jnp.zeros_like(target.valid))


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def finite(tree):
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


def test_every_model_is_held_to_the_laws():
    assert set(CONFIGS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_padding_examples_change_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    batch = batch.replace(valid=jnp.array([True, True, False, True]))
    noisy = with_noise_where(~batch.valid, task, batch)
    results = [gradient(params, state, b, jax.random.key(1), True) for b in (batch, noisy)]
    equal(*results)


@pytest.mark.parametrize("name", MODELS)
def test_padding_objects_change_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    if isinstance(batch.target, SemanticTarget):
        pytest.skip("a class map has no list of objects that could be padded")
    target = batch.target.replace(valid=batch.target.valid.at[1].set(False))
    batch = batch.replace(target=target)
    other = make_batch(task, 5).target
    if isinstance(target, ClassTarget):
        noisy = target.replace(labels=target.labels.at[1].set(other.labels[1]))
    else:
        noisy = target.replace(labels=target.labels.at[1].set(other.labels[1]), boxes=target.boxes.at[1].set(other.boxes[1]))
    equal(*(gradient(params, state, batch.replace(target=t), jax.random.key(1), True) for t in (target, noisy)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("train", [True, False])
def test_a_batch_with_nothing_to_learn_is_finite(name, train):
    task, params, state, gradient, predict = prepared(name)
    batch = make_batch(task)
    without_objects = batch.replace(target=nothing_in(batch.target))
    without_examples = batch.replace(valid=jnp.zeros_like(batch.valid))
    for empty in (without_objects, without_examples):
        (loss, (_, aux)), gradients = gradient(params, state, empty, jax.random.key(1), train)
        assert finite((loss, gradients, aux))
        if empty is without_objects and name in DETECTORS:
            continue
        assert float(loss) == 0.0
        assert all(not bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients))
    assert finite(predict(params, state, without_examples))


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_leaves_the_state_alone_and_draws_nothing(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    first = gradient(params, state, batch, jax.random.key(1), False)
    second = gradient(params, state, batch, jax.random.key(2), False)
    equal(first, second)
    equal(first[0][1][1].model_state, state)
    trained = gradient(params, state, batch, jax.random.key(1), True)[0][1][1].model_state
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), trained, state)
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", RANDOM)
def test_training_draws_from_the_key_alone(name):
    task, params, state, gradient, _ = prepared(name)
    batch = make_batch(task)
    losses = [float(gradient(params, state, batch, jax.random.key(seed), True)[0][0]) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]  # dropout is on


@pytest.mark.parametrize("name", MODELS)
def test_predictions_never_see_the_targets(name):
    task, params, state, _, predict = prepared(name)
    batch, other = make_batch(task, 0), make_batch(task, 1)
    equal(predict(params, state, batch), predict(params, state, batch.replace(target=other.target)))
    nothing = jax.eval_shape(task.predict, params, state, batch.replace(target=None))
    assert jax.tree.map(jnp.shape, nothing) == jax.tree.map(jnp.shape, predict(params, state, batch))
    field = "labels" if isinstance(batch.target, SemanticTarget) else "scores"
    assert not np.array_equal(*(getattr(predict(params, state, b), field) for b in (other, batch)))


@pytest.mark.parametrize("name", MODELS)
def test_one_program_for_any_number_of_objects(name):
    task, params, state, gradient, predict = prepared(name)
    for count in range(ROWS + 1):
        batch = make_batch(task, count)
        keep = jnp.arange(ROWS) < count
        pick = lambda a, b, keep=keep: jnp.where(keep.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        batch = batch.replace(target=jax.tree.map(pick, batch.target, nothing_in(batch.target)), valid=keep)
        gradient(params, state, batch, jax.random.key(0), True)
        predict(params, state, batch)
    assert predict._cache_size() == 1
    assert gradient._cache_size() <= 2  # train and not


@pytest.mark.parametrize("name", MODELS)
def test_one_set_of_parameters_for_every_declared_size(name):
    task = task_of(name, more_sizes=((64, 96), (32, 64)))
    shapes, losses = set(), set()
    for size in task.inputs.sizes:
        batch = make_batch(dataclasses.replace(task, inputs=dataclasses.replace(task.inputs, sizes=(size,))))
        assert batch.image.shape[1:3] == size
        params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
        shapes.add(str(jax.tree.map(jnp.shape, (params, state))))
        loss = jax.eval_shape(lambda p, s, b: task.loss(p, s, b, jax.random.key(0), True), params, state, batch)
        losses.add(str(loss))
        prediction = jax.eval_shape(task.predict, params, state, batch)
        if isinstance(prediction, SegmentationPrediction):
            assert prediction.labels.shape[1:] == size
    assert task.inputs.sizes == ((64, 64), (64, 96), (32, 64)) and len(shapes) == len(losses) == 1


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_on_one_batch_falls(name):
    task, params, state, gradient, _ = prepared(name)
    batch, losses = make_batch(task), []
    rate = 0.3 if name in SLOW else 0.1
    for i in range(40):
        (loss, (_, aux)), gradients = gradient(params, state, batch, jax.random.key(i), True)
        params = jax.tree.map(lambda value, slope: value - rate * slope, params, gradients)
        state = aux.model_state
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


@functools.cache
def halved(name):
    """The task in bfloat16 with two frozen stages, where it has a backbone, and its loss and gradient on one batch."""
    half = {"dtype": "bfloat16"}
    if "backbone" in CONFIGS[name]:
        half = {"backbone": {**CONFIGS[name]["backbone"], **half, "frozen_stages": 2}}
    task, (_, params, state, *_) = task_of(name, **half), prepared(name)
    batch = make_batch(task)
    objective = lambda params: task.loss(params, state, batch, jax.random.key(0), True)[0].value()
    return task, batch, *jax.jit(jax.value_and_grad(objective))(params)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_bfloat16_are_finite_and_parameters_stay_float32(name):
    task, batch, loss, gradients = halved(name)
    _, params, state, *_ = prepared(name)
    made = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), made) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), (params, state)
    )
    assert loss.dtype == jnp.float32 and finite(gradients)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, gradients))} == {jnp.dtype("float32")}
    prediction = jax.eval_shape(task.predict, params, state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} <= {
        jnp.dtype(kind) for kind in ("float32", "uint8", "int32", "bool")
    }


@pytest.mark.parametrize("name", [name for name in MODELS if "backbone" in CONFIGS[name]])
def test_frozen_stages_do_not_move(name):
    task, _, _, gradients = halved(name)
    stages = make_backbone(**CONFIGS[name]["backbone"]).stages[:2]
    moves = task.trainable(prepared(name)[1])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        keys = [key.key for key in path]
        frozen = (keys[0] == "backbone" and keys[1] in stages) or keys[0] in FITTED
        assert functools.reduce(lambda tree, key: tree[key], keys, moves) == (not frozen)
        assert bool(jnp.any(leaf)) == (not frozen), keys


def test_alpha_weighs_the_two_losses():
    """L = α·Lc + (1 − α)·Lr, from the metrics that the same call returns."""
    for alpha in (0.0, 0.1, 0.5, 1.0):
        task = task_of("localizer", alpha=alpha, dropout=0.0)
        _, params, state, _, _ = prepared("localizer")
        loss, aux = jax.jit(task.loss, static_argnums=4)(params, state, make_batch(task), jax.random.key(0), True)
        parts = {name: float(aux.metrics[name].value()) for name in ("loss/class", "loss/box")}
        assert float(loss.value()) == pytest.approx(alpha * parts["loss/class"] + (1 - alpha) * parts["loss/box"], rel=1e-6)


@pytest.mark.parametrize("box_loss", ["mean_squared_error", "smooth_l1", "giou"])
@pytest.mark.parametrize("box_pooling", ["flatten", "attention"])
def test_the_box_losses_are_zero_at_the_truth_and_pull_towards_it(box_loss, box_pooling):
    task = task_of("localizer", alpha=0.0, box_loss=box_loss, box_pooling=box_pooling, dropout=0.0)
    batch = make_batch(task)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    from cnnvision.heads.box_regression import box_loss as term
    from cnnvision.ops.boxes import to_fractions

    boxes = batch.target.boxes[:, 0]
    truth = to_fractions(boxes, 64, 64)
    valid = jnp.ones(ROWS, bool)
    assert float(term(box_loss, truth, boxes, valid, 64, 64).value()) == pytest.approx(0.0, abs=1e-5)
    assert float(term(box_loss, truth + 0.1, boxes, valid, 64, 64).value()) > 1e-4
    gradients = jax.jit(jax.grad(lambda p: task.loss(p, state, batch, jax.random.key(0), True)[0].value()))(params)
    assert any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients["box_head"]))
    assert not any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(gradients["class_head"]))
