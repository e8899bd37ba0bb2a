"""TPUs as Google Cloud rents them out: the one table of names of machines, accelerators and topologies."""

import dataclasses
import difflib
import math

from cnnvision.errors import ConfigError
from cnnvision.settings import check_name

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x12", "8x8x16", "8x16x16")
CHIPS_A_HOST = 4

_IMAGE = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"


@dataclasses.dataclass(frozen=True)
class Generation:
    """One generation of TPUs.

    Attributes:
        machine: its hosts of four chips, as Compute Engine and GKE name them; "4t" at the end is the number of chips.
        accelerator: value of GKE's node label `cloud.google.com/gke-tpu-accelerator`.
        topologies: that can be rented, small ones first.
        type: its name before the size, as xpk and the Cloud TPU API have it.
        routes: by which `launch` gets to it.
        devices: that JAX sees in a chip.
        family: of images, for Compute Engine.
        disk: the boot disk's type, where it must be told.
    """

    machine: str
    accelerator: str
    topologies: tuple[str, ...]
    type: str
    routes: tuple[str, ...]
    devices: int = 1
    family: str = _IMAGE
    disk: str = ""


# Machines, accelerators, topologies, names: github.com/AI-Hypercomputer/xpk 1.16.0, the table system_characteristics.
# Routes: docs.cloud.google.com/tpu/docs/tpus-and-migs (instance groups: v5p, v6e, TPU7x) and …/create-tpu-vm (the Cloud TPU
# API is frozen; v5e has no other way outside of GKE). Images: …/tpu/docs/tpu-os-images. TPU7x: …/tpu/docs/tpu7x (two devices
# a chip) and github.com/AI-Hypercomputer/tpu-recipes (the disk).
GENERATIONS = {
    "v4": Generation("ct4p-hightpu-4t", "tpu-v4-podslice", DEEP, "v4", ("gke", "xpk")),
    "v5e": Generation("ct5lp-hightpu-4t", "tpu-v5-lite-podslice", FLAT, "v5litepod", ("gke", "xpk", "tpu-vm")),
    "v5p": Generation("ct5p-hightpu-4t", "tpu-v5p-slice", DEEP, "v5p", ("gce", "gke", "xpk")),
    "v6e": Generation("ct6e-standard-4t", "tpu-v6e-slice", FLAT, "v6e", ("gce", "gke", "xpk")),
    "tpu7x": Generation(
        "tpu7x-standard-4t", "tpu7x", DEEP, "tpu7x", ("gce", "gke", "xpk"),
        devices=2, family="ubuntu-accel-2404-amd64-tpu-tpu7x", disk="hyperdisk-balanced",
    ),
}  # fmt: skip
"""Name before the colon of a topology -> generation."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are wired together, for example those of "v6e:4x4".

    Attributes:
        generation: of the chips.
        topology: their sides, for example "4x4".
        chips, hosts, devices: how many; devices are what JAX counts.
        machine: the type of each host.
        type: the whole's name: "v6e-4x4" for xpk, "v5litepod-16" for the Cloud TPU API.
    """

    generation: Generation
    topology: str
    chips: int
    hosts: int
    devices: int
    machine: str
    type: str


def slice_of(topology: str, route: str) -> Slice:
    """The slice of a topology such as "v6e:4x4", by a route.

    Raises:
        ConfigError: there is no such generation or topology, or it is not to be had by this route.
    """
    name, _, sides = topology.lower().partition(":")
    flag = f"--topology={topology}"
    generation = GENERATIONS[check_name(flag, name, GENERATIONS)]
    if route not in generation.routes:
        by_this = [other for other, each in GENERATIONS.items() if route in each.routes]
        raise ConfigError(
            f"--route={route} has no {name}; {name} is to be had with --route={' or '.join(generation.routes)}, "
            f"and by this route {', '.join(by_this)}"
        )
    topologies = generation.topologies
    if route == "xpk" and topologies is FLAT:
        topologies = FLAT[2:] if name == "v5e" else FLAT  # as xpk's own table has them
    if sides not in topologies:
        near, known = _near(sides, topologies), ", ".join(topologies)
        raise ConfigError(f"{flag}: there is no such {name}. Did you mean {name}:{near}? Known by this route: {known}.")
    chips = math.prod(map(int, sides.split("x")))
    hosts = max(1, chips // CHIPS_A_HOST)
    machine = generation.machine.replace("-4t", f"-{min(chips, CHIPS_A_HOST)}t")
    size = chips if route == "tpu-vm" else sides
    return Slice(generation, sides, chips, hosts, chips * generation.devices, machine, f"{generation.type}-{size}")


def _near(sides: str, topologies: tuple[str, ...]) -> str:
    """The topology that is nearest in its number of chips, or in its letters where there is no number."""
    chips_of = lambda topology: math.prod(map(int, topology.split("x")))
    try:
        return min(topologies, key=lambda topology: abs(chips_of(topology) - chips_of(sides)))
    except ValueError:
        return (difflib.get_close_matches(sides, topologies, n=1) or topologies)[0]
