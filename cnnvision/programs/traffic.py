"""What a compiled program sends between devices, read from its text: what, how many bytes, in a loop or not."""

import dataclasses
import math
import re

from cnnvision.programs.text import BYTES, computations

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation between devices.

    Attributes:
        kind: of `KINDS`.
        bytes: of its result, on each device.
        in_loop: whether it runs inside a loop.
        name: where in the program it comes from, as JAX named it.
    """

    kind: str
    bytes: int
    in_loop: bool
    name: str


def collectives(text: str) -> list[Collective]:
    """Every operation between devices of a compiled program (`compiled.as_text()`), in the order of the text."""
    lines_of, calls, looped = computations(text)
    inside, frontier = set(), set(looped)
    while frontier:
        inside |= frontier
        frontier = {callee for name in frontier for callee in calls.get(name, ())} - inside
    found = []
    for computation, lines in lines_of.items():
        for line in lines:
            match = _OPERATION.search(line)
            if match:
                name = _NAME.search(line)
                size = sum(BYTES.get(kind, 4) * math.prod(map(int, filter(None, sides.split(","))))
                           for kind, sides in _SHAPE.findall(match[1]))  # fmt: skip
                found.append(Collective(match[2], size, computation in inside, name[1] if name else ""))
    return found
