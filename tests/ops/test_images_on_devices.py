"""ops/images.py: the numbers of vmap, whatever the devices; nothing moves between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnnvision.ops.images import in_used_chunks, on_mesh, per_image
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


def chunked(weights, rows, regions, used):
    """Per region the row's number times the region's, weighted: per_image inside it is a vmap."""

    def look(weights, rows, regions):
        return per_image(lambda row, of_row: jnp.sin(of_row * row) @ weights, rows, regions)

    return in_used_chunks(look, weights, rows, regions, used, chunk=3)


@pytest.mark.parametrize("devices", [1, 8])
def test_chunks_of_used_regions(devices):
    """Values and gradients are those of all regions at once; unused ones within a chunk are computed, the rest is 0. Of the
    parameters' gradient there is one sum over devices, after the loop."""
    rng = np.random.default_rng(0)
    weights, rows, regions = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((5, 2), (16,), (16, 7, 5)))
    used = jnp.arange(7)[None] < jnp.array([0] * 14 + [1, 4])[:, None]
    mesh = make_mesh(jax.devices()[:devices])
    split = jax.device_put((rows, regions, used), NamedSharding(mesh, PartitionSpec("data")))

    def objective(weights, rows, regions, used):
        found = chunked(weights, rows, regions, used)
        return jnp.sum(jnp.where(used[..., None], found, 0.0) ** 2), found

    program = jax.jit(on_mesh(jax.value_and_grad(objective, argnums=(0, 2), has_aux=True), mesh)).lower(weights, *split)
    program = program.compile()
    (_, found), (slope, along) = program(weights, *split)
    plain = lambda weights, regions: jnp.sin(regions * rows[:, None, None]) @ weights
    np.testing.assert_allclose(np.asarray(found)[np.asarray(used)], plain(weights, regions)[used], rtol=1e-5, atol=1e-6)
    assert found.shape == (16, 7, 2)
    # The chunks end at 3, 6 and 7: the last image uses 4 regions, so the second chunk is computed where it lies.
    assert not np.asarray(found)[:, 6:].any() and np.asarray(found)[-1, 5].any()
    assert np.asarray(found)[0, :3].any() == (devices == 1)
    expected = jax.grad(lambda *x: jnp.sum(jnp.where(used[..., None], plain(*x), 0.0) ** 2), argnums=(0, 1))(
        weights, regions
    )
    np.testing.assert_allclose(slope, expected[0], rtol=1e-4)
    np.testing.assert_allclose(along, expected[1], rtol=1e-4, atol=1e-6)
    sent = collectives(program.as_text())
    assert not [c for c in sent if c.in_loop] and sum(c.bytes for c in sent) <= (weights.size + 1) * 4
    assert bool(sent) == (devices > 1)
