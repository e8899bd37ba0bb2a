"""YOLO beyond the laws: the paper's network by hand, its loss's weights, fully connected layers, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones.darknet import CONVOLUTIONS
from cnnvision.data.batching import empty_batch
from cnnvision.errors import ConfigError
from cnnvision.models import make_task
from cnnvision.programs.text import operations
from cnnvision.runs.configuration import load_config
from cnnvision.task import DataInfo
from tests.models.tasks import make_batch, prepared, task_of

CONNECTED = {"cells": 5, "boxes": 3, "convolutions": ((8, 2),), "hidden": (16,), "dropout": 0.5}


def layers():
    """(kernel, inputs, outputs, side of the output) of the 24 convolutions on 448×448 pixels (figure 3)."""
    found, inputs, side = [], 3, 448
    for convolutions in CONVOLUTIONS:
        side //= 2  # the first convolution has stride 2; a max-pool stands before each other stage
        for outputs, kernel in convolutions:
            found.append((kernel, inputs, outputs, side))
            inputs = outputs
    return [*found, (3, 1024, 1024, 14), (3, 1024, 1024, 7), (3, 1024, 1024, 7), (3, 1024, 1024, 7)]


def test_the_papers_network():
    """24 convolutions and two fully connected layers: 1,470 numbers, 271.7 million parameters, 40.6 GFLOP, by hand."""
    config = load_config("yolo_voc")
    task = make_task(config, DataInfo(tuple(f"class{k}" for k in range(20))))
    batch = empty_batch(task.inputs, 1)
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert len(layers()) == 24 and layers()[-1] == (3, 1024, 1024, 7)
    weights = sum(k * k * i * o + o for k, i, o, _ in layers())
    weights += (7 * 7 * 1024 * 4096 + 4096) + (4096 * 1470 + 1470)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == weights == 271_703_550
    outputs = jax.eval_shape(task.parts["grid"], params, state, batch)
    assert outputs.shape == (1, 7, 7, 30) and outputs.size == 1470
    by_hand = sum(2 * k * k * i * o * side * side for k, i, o, side in layers())
    by_hand += 2 * 7 * 7 * 1024 * 4096 + 2 * 4096 * 1470
    text = jax.jit(task.parts["grid"]).lower(params, state, batch).compile().as_text()
    assert by_hand == 40_570_306_560
    # Beside them biases, leaky ReLUs and the normalisation: a few operations a value of each map.
    assert by_hand <= operations(text) <= 1.003 * by_hand


def test_the_terms_have_their_weights():
    batch = make_batch(task_of("yolo"))
    _, params, state, _, _ = prepared("yolo")
    for weights in ({}, {"lambda_coord": 1.0, "lambda_noobj": 2.0}):
        task = task_of("yolo", **weights)
        loss, aux = jax.jit(task.loss, static_argnums=4)(params, state, batch, jax.random.key(0), True)
        term = {name: float(aux.metrics[f"loss/{name}"].value()) for name in ("xy", "wh", "object", "no_object", "class")}
        coord, noobj = weights.get("lambda_coord", 5.0), weights.get("lambda_noobj", 0.5)
        expected = coord * (term["xy"] + term["wh"]) + term["object"] + noobj * term["no_object"] + term["class"]
        assert float(loss.value()) == pytest.approx(expected, rel=1e-5) and min(term.values()) > 0


def test_fully_connected_layers():
    """Any map becomes S×S cells; dropout draws; one size of input alone."""
    task = task_of("yolo", grid=CONNECTED)
    batch = make_batch(task)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    assert jax.eval_shape(task.parts["grid"], params, state, batch).shape == (4, 5, 5, 5 * 3 + 3)
    loss = jax.jit(lambda key: task.loss(params, state, batch, key, True)[0].value())
    first, again, other = (float(loss(jax.random.key(seed))) for seed in (0, 0, 1))
    assert first == again != other and np.isfinite(first)
    with pytest.raises(ConfigError, match="need one size of input"):
        task_of("yolo", grid=CONNECTED, more_sizes=((64, 96),))


def test_a_perfect_network_finds_what_the_ceiling_has():
    task = task_of("yolo", grid={"cells": 2, "hidden": (4,), "convolutions": ()}, max_objects=6)
    batch = make_batch(task)
    found = jax.jit(task.ceiling)(batch)
    kept = np.asarray(found.valid)
    assert 0 < kept.sum() < kept.size and kept.sum(axis=1).max() <= 4
    np.testing.assert_allclose(found.boxes[kept], batch.target.boxes[kept], atol=1e-3)
    np.testing.assert_array_equal(found.labels[kept], batch.target.labels[kept])


def test_cells_in_the_padding_find_nothing():
    _, params, state, _, predict = prepared("yolo")
    batch = make_batch(task_of("yolo"))
    half = batch.replace(size=jnp.broadcast_to(jnp.array([64, 30]), batch.size.shape))
    boxes, valid = (np.asarray(x) for x in (predict(params, state, half).boxes, predict(params, state, half).valid))
    assert valid.any() and (boxes[valid][:, [0, 2]] <= 30).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"cells": 7, "hidden": ()}}, r"grid\.cells = 7, hidden = \(\): .*cells must be None"),
        ({"grid": {"cells": 0}}, r"grid\.cells = 0: must be a whole number"),
        ({"grid": {"convolutions": (16,)}}, r"convolutions = 16: must be a tuple"),
        ({"stride": 32}, "the backbone has maps of strides 2, 4, 8"),
        ({"lambda_coord": -1.0}, "lambda_coord"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        task_of("yolo", **changes)
