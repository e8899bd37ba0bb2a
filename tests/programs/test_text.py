"""Operations of compiled programs against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cnnvision.programs.text import memory_traffic, operations


def count(function, *arguments):
    return operations(jax.jit(function).lower(*arguments).compile().as_text())


def test_a_matrix_product():
    assert count(lambda a, b: a @ b, jnp.ones((30, 20)), jnp.ones((20, 10))) == 2 * 30 * 20 * 10
    batched = count(lambda a, b: jnp.einsum("nij,njk->nik", a, b), jnp.ones((5, 30, 20)), jnp.ones((5, 20, 10)))
    assert batched == 5 * 2 * 30 * 20 * 10


def test_a_convolution():
    conv = lambda image, kernel: lax.conv_general_dilated(
        image, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert count(conv, jnp.ones((2, 16, 12, 3)), jnp.ones((3, 3, 3, 8))) == 2 * (2 * 8 * 6 * 8) * (9 * 3)


def test_a_grouped_convolution_counts_the_channels_of_a_group():
    conv = lambda image, kernel: lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
    )
    assert count(conv, jnp.ones((2, 16, 12, 8)), jnp.ones((3, 3, 2, 16))) == 2 * (2 * 16 * 12 * 16) * (9 * 2)


def test_loops_count_as_often_as_they_run():
    body = lambda x, _: (x @ x, None)
    once = 2 * 16**3
    assert count(lambda x: lax.scan(body, x, None, length=7)[0], jnp.ones((16, 16))) == 7 * once
    nested = lambda x: lax.scan(lambda y, _: (lax.scan(body, y, None, length=3)[0], None), x, None, length=5)[0]
    assert count(nested, jnp.ones((16, 16))) == 15 * once


def test_loops_over_many_arrays_are_read():
    """The text numbers the parts of long tuples in comments."""
    body = lambda arrays, _: (tuple(x @ x for x in arrays), None)
    loop = jax.jit(lambda x: lax.scan(body, tuple(x + float(i) for i in range(7)), None, length=5)[0])
    text = loop.lower(jnp.ones((64, 64))).compile().as_text()
    assert "/*index=5*/" in text
    assert operations(text) == pytest.approx(5 * 7 * 2 * 64**3, rel=0.02)
    assert memory_traffic(text) >= 5 * 7 * 2 * 4 * 64**2


def test_elementwise_arithmetic_counts_its_results():
    assert count(lambda a, b: a * b + a, jnp.ones((50, 40)), jnp.ones((50, 40))) == 2 * 50 * 40
    assert count(lambda a: a + 1, jnp.ones((50, 40), jnp.int32)) == 0


def test_a_loop_that_ends_by_its_data_is_refused():
    grow = lambda x: lax.while_loop(lambda y: jnp.sum(y) < 1e6, lambda y: y @ y, x)
    with pytest.raises(ValueError, match="does not say how often"):
        count(grow, jnp.ones((4, 4)))


def moved(function, *arguments):
    return memory_traffic(jax.jit(function).lower(*arguments).compile().as_text())


def test_memory_traffic_is_what_goes_in_and_comes_out():
    a, b = jnp.ones((30, 20)), jnp.ones((20, 10), jnp.float32)
    assert moved(lambda a, b: a @ b, a, b) == 4 * (30 * 20 + 20 * 10 + 30 * 10)
    assert moved(lambda a: jnp.tanh(a * 2.0 + 1.0), a) == 4 * 2 * 30 * 20  # inside a fusion nothing moves


def test_memory_traffic_of_a_loop_counts_as_often_as_it_runs():
    body = lambda x, _: (x @ x, None)
    loop = lambda length: lambda x: lax.scan(body, x, None, length=length)[0]
    once = moved(loop(5), jnp.ones((64, 64))) - moved(loop(4), jnp.ones((64, 64)))
    assert 3 * 4 * 64**2 <= once <= 3 * 4 * 64**2 * 2  # and what carries the loop on


def test_memory_traffic_of_an_update_in_place_is_the_update():
    def fill(x):
        return lax.fori_loop(0, 10, lambda i, y: lax.dynamic_update_slice(y, jnp.ones((1, 100)) * i, (i, 0)), x)

    assert moved(fill, jnp.zeros((1000, 100))) < 10 * 4 * 100 * 4 + 4 * 4 * 1000 * 100
