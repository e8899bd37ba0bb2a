"""Reads the text of compiled programs (`compiled.as_text()`): which computations there are, what each calls, how often."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COMMENT = re.compile(r"/\*.*?\*/")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\([^=]*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}
BYTES |= {"s64": 8, "u64": 8, "f64": 8}
"""Of one number, by its type."""

UNMOVED = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all")
"""Operations that move nothing by themselves."""

ELEMENTWISE = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "exponential", "log", "rsqrt", "sqrt", "tanh")
"""Operations that count one for each element of their result."""


def computations(text: str) -> tuple[dict[str, list[str]], dict[str, set[str]], set[str]]:
    """Lines of each computation, the computations that it calls, and those that are bodies or conditions of loops."""
    lines_of: dict[str, list[str]] = {}
    calls: dict[str, set[str]] = {}
    looped: set[str] = set()
    current = ""
    for line in _COMMENT.sub("", text).splitlines():  # long tuples have their positions in comments
        header = _COMPUTATION.match(line)
        if header:
            current = header[1]
            lines_of[current], calls[current] = [], set()
        elif current:
            lines_of[current].append(line)
            called = called_by(line)
            calls[current] |= called
            if re.search(r"\bwhile\(", line):
                looped |= called
    return lines_of, calls, looped


def called_by(line: str) -> set[str]:
    """The computations that one instruction calls."""
    called = set(_CALLED.findall(line))
    for branches in _BRANCHES.findall(line):
        called |= {name.strip().lstrip("%") for name in branches.split(",")}
    return called


def shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of each array that a type names, for example "(f32[2,3], s32[])"."""
    return [(kind, tuple(int(side) for side in sides.split(",") if side)) for kind, sides in _SHAPE.findall(text)]


def operations(text: str, undecided: int | None = None) -> float:
    """Floating-point operations of one run of a program; a multiply-add is two.

    Convolutions (padding included), matrix products and elementwise arithmetic on floating-point numbers; loops count as
    often as they run, where XLA's own analysis counts their bodies once.

    Args:
        text: the compiled program.
        undecided: how often a loop counts that ends when its data say so (a suppression, for example); None for refusing it.

    Raises:
        ValueError: a loop does not say how often it runs.
    """
    # What these call is counted by their operands, or moves data.
    closed = re.compile(r" (?:reduce|reduce-window|sort|scatter|all-reduce|select-and-scatter)\(")
    return _total(text, _operations_of, lambda line: not closed.search(line), undecided)


def memory_traffic(text: str, undecided: int | None = None) -> float:
    """Bytes that one run of a program reads from memory and writes to it: operands and results of every instruction that is
    no part of another one (what a fusion computes inside stays inside); of an array that is updated in place, the update.

    Arguments and errors: see `operations`.
    """
    opens = re.compile(r" (?:while|call|conditional)\(")
    return _total(text, _traffic_of, lambda line: opens.search(line) is not None, undecided)


class Instruction(NamedTuple):
    """One line of a program.

    Attributes:
        name: of the instruction.
        type: of its result.
        operation: what it does.
        operands: the types of its operands.
        line: the text.
    """

    name: str
    type: str
    operation: str
    operands: list[str]
    line: str


def _total(
    text: str, of_instruction: Callable[[Instruction], float], enters: Callable[[str], bool], undecided: int | None
) -> float:
    """The sum over the instructions of a program, and of the computations that they call where `enters` says so."""
    lines_of, _, _ = computations(text)
    known: dict[str, float] = {}

    def count(name: str) -> float:
        if name not in known:
            found = _instructions(lines_of.get(name, ()))
            known[name] = sum(of_instruction(each) + _of_calls(each.line) for each in found)
        return known[name]

    def _of_calls(line: str) -> float:
        called = called_by(line)
        if not called or not enters(line):
            return 0.0
        inside = sum(count(each) for each in called)
        if not re.search(r"\bwhile\(", line) or not inside:
            return inside
        trips = _TRIPS.search(line)
        if trips is None and undecided is not None:
            return inside * undecided
        if trips is None:
            raise ValueError(f"a loop does not say how often it runs: {line.strip()[:120]}")
        return inside * int(trips[1])

    entry = next(match[1] for match in map(_COMPUTATION.match, text.splitlines()) if match and match[0].startswith("ENTRY"))
    return count(entry)


def _instructions(lines: Iterable[str]) -> Iterator[Instruction]:
    """The instructions of a computation, in their order: operands stand before those that use them."""
    types: dict[str, str] = {}
    for line in lines:
        if match := _INSTRUCTION.match(line):
            name, kind, operation, rest = match.groups()
            types[name] = kind
            # An operand is named, or has its type before its name.
            of = lambda operand: types.get(operand.strip().lstrip("%").split(" ")[-1].lstrip("%"), operand)
            yield Instruction(name, kind, operation, list(map(of, _operands(rest))), line)


def _bytes(types: str) -> float:
    return float(sum(BYTES.get(kind, 4) * math.prod(sides) for kind, sides in shapes(types)))


def _traffic_of(instruction: Instruction) -> float:
    """Bytes that one instruction reads and writes."""
    if instruction.operation in UNMOVED or instruction.operation.endswith("-done"):
        return 0.0
    operands = list(map(_bytes, instruction.operands))
    if "dynamic-update-slice" in instruction.operation or "dynamic-update-slice" in instruction.name:
        return 2.0 * (sum(operands) - max(operands, default=0.0))
    return _bytes(instruction.type) + sum(operands)


def _operations_of(instruction: Instruction) -> float:
    """Operations of one instruction by itself."""
    _, kind, operation, operands, line = instruction
    found = shapes(kind)
    elements = math.prod(found[0][1]) if found else 0
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line)
    if labels and len(operands) > 1:
        kernel = shapes(operands[1])[0][1]
        return 2.0 * elements * math.prod(kernel) / kernel[labels[2].index("o")]
    contracted = re.search(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d",]*)', line)
    if contracted:
        left = shapes(operands[0])[0][1]
        sides = [left[int(axis)] for axis in re.findall(r"\d+", contracted[1])]
        return 2.0 * elements * math.prod(sides)
    if found and found[0][0] in ("f64", "f32", "f16", "bf16"):
        if operation in ELEMENTWISE:
            return float(elements)
        if operation in ("reduce", "reduce-window") and operands and (inputs := shapes(operands[0])):
            return float(math.prod(inputs[0][1]))
    return 0.0


def _operands(rest: str) -> list[str]:
    """The operands of an instruction, from what follows its opening bracket."""
    depth, found, current = 0, [], ""
    for letter in rest:
        if letter == ")" and not depth:
            break
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append(current)
            current = ""
        else:
            current += letter
    return [*found, current] if current.strip() else found
