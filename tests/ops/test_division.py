"""Division rounded once, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops.division import by_whole, corrected, divide

FORMS = ("any", "ties", "areas")


def draw(form, count=100_000):
    """Numerators and denominators, float32."""
    random = np.random.default_rng(0)
    if form == "any":
        sides = np.exp2(random.uniform(-20, 20, (2, count))) * random.choice([-1.0, 1.0], (2, count))
    elif form == "ties":  # quotients that float32 holds exactly: none may be missed
        denominator = random.integers(1, 2**12, count)
        sides = np.stack([denominator * random.integers(1, 2**12, count) * 2.0**-8, denominator])
    else:
        sides = np.stack([random.integers(0, 2**20, count), random.integers(1, 2**22, count)])
    return sides.astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("units", [-3, -2, -1, 0, 1, 2, 3])
def test_a_quotient_that_is_some_units_off_is_corrected(form, units):
    numerator, denominator = draw(form)
    expected = numerator / denominator
    off = (expected.view(np.int32) + np.where(expected != 0, units, 0)).astype(np.int32).view(np.float32)
    assert units == 0 or np.all((off != expected) | (expected == 0))
    np.testing.assert_array_equal(jax.jit(corrected)(off, numerator, denominator), expected)


@pytest.mark.parametrize("form", FORMS)
def test_division_is_rounded_once(form):
    numerator, denominator = draw(form)
    np.testing.assert_array_equal(jax.jit(divide)(numerator, denominator), numerator / denominator)
    np.testing.assert_array_equal(jax.jit(lambda x: by_whole(x, 7))(numerator), numerator / np.float32(7))


def test_what_is_too_small_to_be_corrected_stays_near():
    """Below float32's normal range a remainder is no longer exact."""
    random = np.random.default_rng(0)
    numerator, denominator = np.exp(random.uniform(-87, 87, (2, 100_000))).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = numerator / denominator
    normal = (np.abs(expected) > 1e-37) & np.isfinite(expected)
    off = np.nextafter(expected, np.float32(np.inf))
    found = np.asarray(jax.jit(corrected)(off, numerator, denominator), np.float64)
    assert (np.abs(found[normal] / expected[normal].astype(np.float64) - 1) < 2e-6).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_numbers_are_divided_plainly(dtype):
    numerator, denominator = jnp.arange(100).astype(dtype), jnp.arange(7, 107).astype(dtype)
    found = jax.jit(divide)(numerator, denominator)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(jnp.float32), (numerator / denominator).astype(jnp.float32))


def test_what_is_not_finite_stays():
    numerator, denominator = np.float32([1.0, 0.0, np.inf, -1.0]), np.float32([0.0, 0.0, 2.0, 0.0])
    with np.errstate(all="ignore"):
        quotient = numerator / denominator
    np.testing.assert_array_equal(corrected(*map(jnp.asarray, (quotient, numerator, denominator))), quotient)


def test_the_gradient_is_that_of_division():
    numerator, denominator = map(jnp.asarray, draw("any", 100))
    ours, theirs = (
        jax.grad(lambda pair, f=f: jnp.sum(jnp.sin(f(*pair))))((numerator, denominator)) for f in (divide, jnp.divide)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
