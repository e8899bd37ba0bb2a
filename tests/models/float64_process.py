"""Runs a module in float64; a process of its own, because the package takes its dtypes when it is imported.

    python -m tests.models.float64_process MODULE ARGUMENTS

`jnp.float32` is the name in which the package has all its arithmetic done, and here it means float64.
"""

import runpy
import sys

import jax
import jax.numpy as jnp

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
