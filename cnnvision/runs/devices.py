"""Which devices a program runs on, and whether an accelerator that is there is left unused."""

import os
from collections.abc import Callable, Mapping

import jax

SIGNS = {
    "GPU": ("COLAB_GPU", "/dev/nvidia0", "cnnvision[gpu]"),
    "TPU": ("COLAB_TPU_ADDR", "/dev/accel0", "cnnvision[tpu]"),
}
"""Accelerator -> a variable of the environment and a file that are there where one is, and what installs JAX for it."""


def describe(
    environment: Mapping[str, str] = os.environ, exists: Callable[[str], bool] = os.path.exists, platform: str | None = None
) -> str:
    """One or two lines: the devices that JAX sees, and a warning where they are CPUs beside an accelerator.

    Args:
        environment, exists: where to look for signs of an accelerator.
        platform: of JAX's devices; by default that of this process.
    """
    devices = jax.devices()
    platform = platform or devices[0].platform
    kinds = {device.device_kind for device in devices}
    line = f"JAX {jax.__version__} runs on {len(devices)} × {', '.join(sorted(kinds))} ({platform})."
    if platform != "cpu":
        return line
    for name, (variable, file, extra) in SIGNS.items():
        if environment.get(variable, "0") not in ("", "0") or exists(file):
            return (
                f"{line}\nWARNING: this machine has a {name}, and JAX does not see it: everything below takes many times as "
                f"long. Install JAX for it (pip install '{extra}'), restart the runtime, and begin again."
            )
    return f"{line} No accelerator was found: small networks train in minutes here, large ones do not."
