"""Optax's schedules and bias corrections mix int32 and float32, so strict dtype promotion is off where optimizers run."""

import jax
import pytest


@pytest.fixture(autouse=True)
def promotion_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        yield
