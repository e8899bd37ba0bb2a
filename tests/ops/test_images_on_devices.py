"""ops/images.py: the numbers of vmap, whatever the devices; nothing moves between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnnvision.ops.images import on_mesh, per_image
from cnnvision.programs.traffic import collectives
from cnnvision.training.sharding import make_mesh


def best(key, scores):
    """The three largest of noisy scores, as a tree."""
    value, index = lax.top_k(scores["of"] + jax.random.normal(key, scores["of"].shape), 3)
    return {"value": value, "index": index}


def stage(scores):
    return per_image(best, jax.random.split(jax.random.key(0), len(scores["of"])), scores)


@pytest.mark.parametrize("devices", [1, 8])
def test_the_numbers_are_those_of_vmap(devices):
    scores = {"of": jnp.asarray(np.random.default_rng(0).normal(size=(16, 40)).astype(np.float32))}
    expected = jax.jit(stage)(scores)
    assert expected["value"].shape == (16, 3) and len(np.unique(expected["index"][:, 0])) > 1
    mesh = make_mesh(jax.devices()[:devices])
    split = jax.device_put(scores, NamedSharding(mesh, PartitionSpec("data")))
    program = jax.jit(on_mesh(stage, mesh)).lower(split).compile()
    assert not collectives(program.as_text())
    jax.tree.map(np.testing.assert_array_equal, program(split), expected)


def test_it_can_be_part_of_a_loop_and_of_a_gradient():
    mesh = make_mesh()

    def loss(scale, x):
        return jnp.sum(lax.map(lambda part: jnp.sum(scale * per_image(lambda row: lax.top_k(row, 2)[0], part)), x))

    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32))
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "data")))
    found = jax.jit(on_mesh(jax.grad(loss), mesh))(jnp.float32(2), split)
    np.testing.assert_allclose(found, np.sort(x)[..., -2:].sum(), rtol=1e-6)
