"""Between devices go gradients, metrics, BatchNorm statistics and normalisers; nothing else, and nothing inside a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cnnvision.models import make_task
from cnnvision.ops.per_image import on_mesh
from cnnvision.programs.traffic import collectives
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import empty_batch
from cnnvision.task import DataInfo
from cnnvision.training.evaluate import make_predict_step
from cnnvision.training.optimizer import make_optimizer
from cnnvision.training.sharding import everywhere, make_mesh, put_batch, state_layout
from cnnvision.training.state import make_init
from cnnvision.training.step import make_train_step
from tests.conftest import ROOT
from tests.models import test_laws as laws
from tests.models.segmenters import PLAIN_PATH, task_of

BATCH = 16


def compiled_step(task, config, accumulate):
    mesh = make_mesh()
    optimizer = lambda trainable: make_optimizer(config.optimizer, 10, trainable)[0]
    batch = empty_batch(task, BATCH)
    init = make_init(task, optimizer, 0, False)
    abstract = jax.eval_shape(init, batch)
    layout = state_layout(abstract, mesh, False)
    step = make_train_step(task, optimizer, seed=0, log_every=5, accumulate=accumulate)
    jitted = jax.jit(on_mesh(step, mesh), donate_argnums=0, out_shardings=(layout, everywhere(mesh)))
    placed = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, layout)
    stop = jax.ShapeDtypeStruct((8,), bool, sharding=NamedSharding(mesh, PartitionSpec("data")))
    return abstract, jitted.lower(placed, put_batch(batch, mesh), stop).compile().as_text()


def compiled_prediction(task):
    mesh = make_mesh()
    batch = put_batch(empty_batch(task, BATCH), mesh)
    network = jax.eval_shape(task.init, jax.random.key(0), batch)
    placed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere(mesh)), network)
    return jax.jit(on_mesh(make_predict_step(task), mesh)).lower(*placed, batch).compile().as_text()


def check_of_step(state, text, again=0):
    """`again`: bytes of gradients that are sent more than once."""
    found = collectives(text)
    assert not [c for c in found if c.in_loop]
    sent = sum(c.bytes for c in found)
    moved = {name: tree for name, tree in state.params.items() if name not in laws.FITTED}
    gradients = sum(leaf.size * 4 for leaf in jax.tree.leaves(moved))
    statistics = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.model_state))
    # BatchNorm's two sums; those of its gradient are the gradients to scale and bias. And room for 32 scalars.
    assert gradients + statistics <= sent <= gradients + again + statistics + 128
    assert {c.kind for c in found} == {"all-reduce"}


@pytest.mark.parametrize("model", ["classifier", "localizer"])
def test_a_step_sends_gradients_statistics_and_scalars_only(model):
    # The last feature map, so that every parameter has a gradient to send.
    last_map = [("model.stride", "0")] if model == "localizer" else []
    config = load_config(f"{ROOT}/configs/{model}_shapes.py:smoke", last_map)
    task = make_task(config, DataInfo(("circle", "square", "star")))
    check_of_step(*compiled_step(task, config, 1))


PATH = {**PLAIN_PATH, "width": 2, "depth": 1, "norm": "batch"}
SEGMENTERS = {
    "patchnet": {"kernels": (4,), "window": 9, "samples": 0},
    "patchnet of drawn pixels, window by window": {
        "kernels": (4,),
        "window": 9,
        "samples": 5,
        "run": "patches",
        "chunk": 40,
    },
    "fullres": {"width": 2, "depth": 1},
    "encdec": {"backbone": PATH},
    "unet": {"backbone": PATH, "tta": "flips"},
}


@pytest.mark.parametrize("name", SEGMENTERS)
def test_pixels_stay_on_their_device(name):
    """Training sends what any step does, prediction only the sums and counts of the loss terms and metrics."""
    config = load_config(f"{ROOT}/configs/unet_shapes.py:smoke")
    task = task_of(name.split()[0], (16, 16), **SEGMENTERS[name])
    check_of_step(*compiled_step(task, config, 1))
    found = collectives(compiled_prediction(task))
    assert {c.kind for c in found} == {"all-reduce"}
    assert not [c for c in found if c.in_loop] and sum(c.bytes for c in found) <= 64


@pytest.mark.parametrize("name", laws.DETECTORS)
def test_boxes_stay_on_their_device(name):
    """Proposals, samples, pooling and suppression are of one image each, and so is every loop among them."""
    config = load_config(f"{ROOT}/configs/faster_rcnn_shapes.py:smoke")
    task = laws.task_of(name)
    state, text = compiled_step(task, config, 1)
    # The region proposal network's layers see three maps, and what each gives is summed over devices before it is added.
    of_rpn = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.params.get("rpn", {})))
    check_of_step(state, text, 2 * of_rpn)
    found = collectives(compiled_prediction(task))
    assert {c.kind for c in found} == {"all-reduce"}
    assert not [c for c in found if c.in_loop] and sum(c.bytes for c in found) <= 128


def test_a_collective_inside_a_loop_is_seen():
    mesh = make_mesh()
    split = NamedSharding(mesh, PartitionSpec("data"))

    def body(carry, _):
        return carry + jnp.sum(carry), None

    run = jax.jit(lambda x: jax.lax.scan(body, x, None, length=3)[0], in_shardings=split, out_shardings=split)
    found = collectives(run.lower(np.ones(16, np.float32)).compile().as_text())
    assert [c.kind for c in found] == ["all-reduce"] and found[0].in_loop and found[0].bytes == 4
