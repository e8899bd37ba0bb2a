"""Between devices go gradients, metrics, BatchNorm statistics and normalisers; nothing else, and nothing inside a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cnnvision.ops.images import on_mesh
from cnnvision.programs.traffic import collectives
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import empty_batch
from cnnvision.training.evaluate import make_predict_step
from cnnvision.training.optimizer import make_optimizer
from cnnvision.training.sharding import everywhere, make_mesh, put_batch, state_layout
from cnnvision.training.step import make_train_step
from tests.models import tasks
from tests.models.cases import CASES
from tests.training.toy import make_init

BATCH = 16


def compiled_step(task, config, accumulate):
    mesh = make_mesh()
    optimizer = lambda trainable: make_optimizer(config.optimizer, 10, trainable)[0]
    batch = empty_batch(task, BATCH)
    init = make_init(task, optimizer, 0, False)
    abstract = jax.eval_shape(init, batch)
    layout = state_layout(abstract, mesh, False)
    step = make_train_step(task, optimizer, log_every=5, accumulate=accumulate)
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


def check_of_step(task, state, text, again=0):
    """`again`: bytes of gradients that are sent more than once."""
    found = collectives(text)
    assert not [c for c in found if c.in_loop]
    sent = sum(c.bytes for c in found)
    moves = zip(jax.tree.leaves(state.params), jax.tree.leaves(task.trainable(state.params)), strict=True)
    gradients = sum(leaf.size * 4 for leaf, moved in moves if moved)
    statistics = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.model_state))
    # BatchNorm's two sums; those of its gradient are the gradients to scale and bias. And room for 32 scalars.
    assert gradients + statistics <= sent <= gradients + again + statistics + 128
    assert {c.kind for c in found} == {"all-reduce"}


WAYS = {name: (name, {}) for name in CASES} | {
    "patchnet on all pixels": ("patchnet", {"samples": None}),
    "patchnet window by window": ("patchnet", {"kernels": (4,), "window": 9, "run": "patches", "chunk": 40}),
    "unet with views averaged": ("unet", {"tta": "flips"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_images_hold_stays_on_their_device(way):
    """Training sends what any step does, prediction only the sums and counts of the loss terms and metrics. Proposals,
    samples, pooling, suppression and windows are of one image each, and so is every loop among them."""
    name, model = WAYS[way]
    task = tasks.task_of(name, **model)
    state, text = compiled_step(task, load_config(f"{CASES[name].config}:smoke"), 1)
    # Of layers that see several maps, what each gives is summed over devices before it is added.
    shared = {part: maps - 1 for part, maps in CASES[name].shared.items()}
    again = sum(times * leaf.size * 4 for part, times in shared.items() for leaf in jax.tree.leaves(state.params[part]))
    check_of_step(task, state, text, again)
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
