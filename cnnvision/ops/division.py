"""Division that is rounded once, on every platform: what lies exactly at a threshold then does so everywhere.

XLA's compiler for CPUs replaces division by a constant with a product by its rounded inverse (a bin that ends at a whole
position may come out one position longer). The one for GPUs divides to within two units in the last place: on an H100, IoUs
that lie exactly at a threshold came out beside it (tests/test_accelerators.py imitates this). The quotient of IEEE 754 is
what NumPy, PyTorch and the published codes compute.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_jvp
def divide(numerator: Float[Array, "*n"], denominator: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """numerator / denominator; rounded once on every platform where both are float32."""
    if not numerator.dtype == denominator.dtype == jnp.float32:
        return jnp.divide(numerator, denominator)
    elsewhere = lambda a, b: corrected(jnp.divide(a, b), a, b)
    return lax.platform_dependent(numerator, denominator, cpu=jnp.divide, default=elsewhere)


@divide.defjvp
def _slope(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    (numerator, denominator), (along_numerator, along_denominator) = primals, tangents
    quotient = divide(numerator, denominator)
    return quotient, (along_numerator - quotient * along_denominator) / denominator


FEW_UNITS = 2.0**-20
"""Units in the last place, of which a quotient may be off: eight, relative to it."""


def corrected(
    quotient: Float[Array, "*n"], numerator: Float[Array, "*n"], denominator: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """The quotient that is nearest to the true one, given one that is a few units in the last place off.

    One step of Newton's on a remainder without rounding error: halves of 12 bits have products that are exact in float32
    (Dekker 1971), and each difference here is exact too, also where a compiler fuses it with its product. Where a product
    or a half is below float32's normal range (numbers under 1e-30, say) it is not, and the given quotient may stay.
    """
    (a, b), (c, d) = _halves(quotient), _halves(denominator)
    remainder = (((numerator - a * c) - a * d) - b * c) - b * d
    better = quotient + remainder / denominator
    return jnp.where(jnp.abs(better - quotient) <= FEW_UNITS * jnp.abs(quotient), better, quotient)


def by_whole(values: Float[Array, "*n"], divisor: int) -> Float[Array, "*n"]:
    """values / divisor, rounded once."""
    return divide(values, jnp.minimum(jnp.abs(values), 0.0) + divisor)  # no constant, as far as the compiler can tell


def _halves(values: Float[Array, "*n"]) -> tuple[jax.Array, jax.Array]:
    """Two numbers of 12 bits each that add up to each value."""
    bits = lax.bitcast_convert_type(values, jnp.uint32) & jnp.uint32(0xFFFFF000)
    high = lax.bitcast_convert_type(bits, jnp.float32)
    return high, values - high
