"""Reads the text of compiled programs (`compiled.as_text()`): which computations there are, what each calls, how often."""

import math
import re
from collections.abc import Callable

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
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
    for line in text.splitlines():
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


def _total(
    text: str,
    of_instruction: Callable[[str, dict[str, str]], float],
    enters: Callable[[str], bool],
    undecided: int | None,
) -> float:
    """The sum over the instructions of a program, and of the computations that they call where `enters` says so."""
    lines_of, _, _ = computations(text)
    known: dict[str, float] = {}

    def count(name: str) -> float:
        if name not in known:
            types: dict[str, str] = {}
            known[name] = sum(of_instruction(line, types) + _of_calls(line) for line in lines_of.get(name, ()))
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


def _bytes(types: str) -> float:
    return float(sum(BYTES.get(kind, 4) * math.prod(sides) for kind, sides in shapes(types)))


def _traffic_of(line: str, types: dict[str, str]) -> float:
    """Bytes that one instruction reads and writes; notes its type in `types`, by name, for those that come after it."""
    match = _INSTRUCTION.match(line)
    if not match:
        return 0.0
    name, kind, operation, rest = match.groups()
    types[name] = kind
    if operation in UNMOVED or operation.endswith("-done"):
        return 0.0
    operands = [_bytes(_type_of(operand, types)) for operand in _operands(rest)]
    if "dynamic-update-slice" in operation or "dynamic-update-slice" in name:
        return 2.0 * (sum(operands) - max(operands, default=0.0))
    return _bytes(kind) + sum(operands)


def _type_of(operand: str, types: dict[str, str]) -> str:
    """The type of an operand as the text has it: by its name, or with its type before it."""
    return types.get(operand.strip().lstrip("%").split(" ")[-1].lstrip("%"), operand)


def _operations_of(line: str, types: dict[str, str]) -> float:
    """Operations of one instruction by itself; notes its type in `types`, by name, for those that come after it."""
    match = _INSTRUCTION.match(line)
    if not match:
        return 0.0
    name, kind, operation, rest = match.groups()
    types[name] = kind
    found = shapes(kind)
    elements = math.prod(found[0][1]) if found else 0
    operands = [_type_of(operand, types) for operand in _operands(rest)]
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
