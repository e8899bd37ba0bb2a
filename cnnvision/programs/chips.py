"""What accelerators can do at most: figures of their makers, for the least time that a program can take on one of them."""

import dataclasses
from typing import Any

from cnnvision.errors import ConfigError, nearest


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        name: as its maker has it.
        flops: operations a second at most, by the type of what is multiplied: "bf16" and "f32".
        memory: bytes.
        bandwidth: of the memory, bytes a second.
        network: to its neighbours, bytes a second in and out together.
        topologies: its name in a topology (libtpu); "" for chips that have none.
    """

    name: str
    flops: dict[str, float]
    memory: float
    bandwidth: float
    network: float
    topologies: str = ""


def _tpu(name: str, bf16: float, gib: float, bandwidth: float, network: float, topologies: str) -> Chip:
    # Products of float32 in full precision are six products of bfloat16 (jax_default_matmul_precision "highest").
    return Chip(name, {"bf16": bf16 * 1e12, "f32": bf16 * 1e12 / 6}, gib * 2**30, bandwidth * 1e9, network * 1e9, topologies)


def _gpu(name: str, bf16: float, f32: float, gib: float, bandwidth: float, network: float) -> Chip:
    return Chip(name, {"bf16": bf16 * 1e12, "f32": f32 * 1e12}, gib * 2**30, bandwidth * 1e9, network * 1e9)


CHIPS = (
    # docs.cloud.google.com/tpu/docs/v4, v5e, v5p, v6e: bfloat16; links in both directions together. Of v4 the page has what
    # an all-reduce reaches on all chips together (1.1 PB/s of 4,096), which is half of the links.
    _tpu("TPU v4", 275, 32, 1200, 2 * 1.1e6 / 4096, "v4"),
    _tpu("TPU v5e", 197, 16, 819, 400, "v5e"),
    _tpu("TPU v5p", 459, 95, 2765, 1200, "v5p"),
    _tpu("TPU v6e", 918, 32, 1638, 800, "v6e"),
    # nvidia.com, data sheets: dense, without sparsity; float32 on its own cores. Of the T4 float16: it has no bfloat16.
    _gpu("NVIDIA H200", 989, 67, 141, 4800, 900),
    _gpu("NVIDIA H100", 989, 67, 80, 3350, 900),
    _gpu("NVIDIA A100", 312, 19.5, 80, 2039, 600),
    _gpu("NVIDIA L4", 121, 30, 24, 300, 64),
    _gpu("Tesla T4", 65, 8.1, 16, 320, 32),
)

KINDS = {"TPU v5 lite": "TPU v5e", "TPU v6 lite": "TPU v6e", "TPU v5": "TPU v5p"}
"""What a device calls itself (`device_kind`) -> the chip's name, where they differ."""


def of_topology(topology: str) -> Chip:
    """The chip of a topology, for example "v5e:4x4". Raises ConfigError for one that is not known."""
    known = {chip.topologies: chip for chip in CHIPS if chip.topologies}
    name = topology.partition(":")[0].lower()
    if name not in known:
        raise ConfigError(f"--topology={topology}: {name!r} is no chip that is known.{nearest(name, known)}")
    return known[name]


def of_device(kind: str) -> Chip | None:
    """The chip of a device by its `device_kind`; None for one that is not known, a CPU for example."""
    name = KINDS.get(kind, kind)
    return next((chip for chip in CHIPS if name.startswith(chip.name)), None)


def product_type(config: Any, kind: str) -> str:
    """What a config's products are computed in on a chip: "bf16" or "f32".

    Args:
        config: of the whole run.
        kind: the chip's name, or what the device calls itself.
    """
    of_backbone = (config.model.get("backbone") or {}).get("dtype", "float32")
    in_full = config.training.matmul_precision == "highest" or not kind.startswith("TPU")
    return "f32" if of_backbone == "float32" and in_full else "bf16"
