"""ops/images.py: the numbers of vmap, whatever the devices; nothing moves between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnnvision.ops.images import on_mesh, over_used, per_image, sum_over_used
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


def of_regions(weights, rows, regions):
    """Per region the row's number times the region's, weighted: per_image inside it is a vmap."""
    return per_image(lambda row, of_row: jnp.sin(of_row * row) @ weights, rows, regions)


@pytest.fixture(params=[1, 8])
def mesh(request):
    return make_mesh(jax.devices()[: request.param])


def drawn_regions(mesh):
    """Weights; numbers of 16 images, 7 regions of each, and which are used: of the last two images 1 and 4."""
    rng = np.random.default_rng(0)
    weights, rows, regions = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((5, 2), (16,), (16, 7, 5)))
    used = jnp.arange(7)[None] < jnp.array([0] * 14 + [1, 4])[:, None]
    return weights, *jax.device_put((rows, regions, used), NamedSharding(mesh, PartitionSpec("data")))


def test_values_of_used_regions(mesh):
    """Those of all regions at once; unused ones in a chunk that is needed are computed, too, the rest is 0."""
    weights, *split = drawn_regions(mesh)
    program = jax.jit(on_mesh(lambda *x: over_used(of_regions, *x, chunk=3), mesh)).lower(weights, *split).compile()
    found, expected, used = (np.asarray(x) for x in (program(weights, *split), of_regions(weights, *split[:2]), split[2]))
    np.testing.assert_allclose(found[used], expected[used], rtol=1e-5, atol=1e-6)
    assert found.shape == (16, 7, 2) and not found[:, 6:].any() and found[-1, 5].any()
    assert found[0, :3].any() == (mesh.size == 1)  # its device needs no chunk
    assert not collectives(program.as_text())


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_sum_over_used_regions(mesh, chunk):
    """Value and gradients are those of all regions at once; of the parameters' gradient there is one sum over devices."""
    weights, rows, regions, used = drawn_regions(mesh)

    def in_chunks(weights, maps, regions, used):
        square = lambda learnt, rows, regions: jnp.sum(of_regions(learnt[0], learnt[1], regions) ** 2, axis=-1)
        return 3 * sum_over_used(square, weights, maps, (), regions, used, chunk)

    at_once = lambda weights, maps: 3 * jnp.sum(of_regions(weights, maps, regions) ** 2, axis=-1).sum(where=used)
    step = jax.jit(on_mesh(jax.value_and_grad(in_chunks, argnums=(0, 1)), mesh))
    program = step.lower(weights, rows, regions, used).compile()
    (value, found), (sum_of_all, expected) = (
        program(weights, rows, regions, used), jax.value_and_grad(at_once, argnums=(0, 1))(weights, rows)
    )  # fmt: skip
    np.testing.assert_allclose(value, sum_of_all, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(on_mesh(in_chunks, mesh))(weights, rows, regions, used), value, rtol=1e-6)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    sent = collectives(program.as_text())
    assert not [c for c in sent if c.in_loop] and sum(c.bytes for c in sent) <= (weights.size + 1) * 4
    assert bool(sent) == (mesh.size > 1)


def test_sums_over_chunks_are_float32_where_maps_are_not():
    """Of 128 chunks; summed in bfloat16 they would be 3 % of the largest value off."""
    rng = np.random.default_rng(0)
    weights, maps, regions = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((5, 2), (2, 5), (2, 128, 5)))

    def value(maps):
        of_part = lambda learnt, _, part: jnp.einsum("brk,bk,kj->br", part, learnt[1].astype(jnp.float32), learnt[0])
        return sum_over_used(of_part, weights, maps, (), regions, jnp.ones((2, 128), bool), 1)

    found, whole = jax.grad(value)(maps.astype(jnp.bfloat16)), jnp.sum(regions, axis=1) * jnp.sum(weights, axis=1)[None]
    assert found.dtype == jnp.bfloat16
    assert np.abs(found.astype(jnp.float32) - whole).max() < 0.01 * np.abs(whole).max()


def test_no_region_is_used(mesh):
    weights, *split = drawn_regions(mesh)

    def value(weights, rows, regions, used):
        return sum_over_used(
            lambda learnt, _, part: jnp.sum(part @ learnt[0], -1), weights, rows, (), regions, used & False, 3
        )

    total, slope = jax.jit(on_mesh(jax.value_and_grad(value), mesh))(weights, *split)
    assert total == 0 and not np.asarray(slope).any()
