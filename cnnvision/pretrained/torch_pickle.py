"""Reads the pickles that `torch.save` writes, without executing them.

A pickle is a program for a small stack machine, and two of its instructions call whatever the file names. This machine has
no instruction that calls anything: classes and functions are names (`Global`), and "calling" one of the few that occur in a
file of weights makes a record (`Tensor`, `Storage`) of what the file says. Any other name ends the reading.

It is a machine of its own, and not `pickle.Unpickler` with a restricted `find_class`, because that one hashes keys of any
nesting (exponential time) and sizes its memo by an index in the file (a few bytes may demand gigabytes). Here time and
memory are bounded by a small multiple of the file's size.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from cnnvision.errors import WeightsError
from cnnvision.pretrained.torch_records import IGNORED, MOST_DIMENSIONS, RIGHT, STORAGES, Global, Storage, Tensor, damaged

MOST_BITS = 128
"""Of an integer; torch's own magic number has 77. Larger ones could not even be printed in an error message."""

_REBUILT = {"torch._utils._rebuild_tensor": 4, "torch._utils._rebuild_tensor_v2": 6}
"""The functions that stand for a tensor, and the fewest arguments of each: storage, offset, shape, strides …"""

_ORDERED_DICT, _PARAMETER, _SIZE = "collections.OrderedDict", "torch._utils._rebuild_parameter", "torch.Size"

_SCALARS = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool"

_INERT = {
    *(f"torch.{scalar}" for scalar in _SCALARS.split()),
    "torch.device",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    "builtins.set",
    "__builtin__.set",
}
"""What training scripts leave beside the weights (options, the best score, an epoch's statistics): read over, never made."""

_KNOWN = {_ORDERED_DICT, _PARAMETER, _SIZE, *_REBUILT, *(f"torch.{name}" for name in STORAGES), *_INERT}

_LITERALS = frozenset(
    "INT LONG LONG1 LONG4 BININT BININT1 BININT2 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": lambda: IGNORED}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(file: Any, room: int) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle.

    Args:
        file: bytes in memory with `read`, `readline` and `tell` (`io.BytesIO`, `mmap.mmap`), at the pickle's first byte;
            afterwards behind its last. Not a file on disk: there `read` would allocate any length that is asked for.
        room: most items copied from lists into dicts, which bounds the memory; the number of bytes is a good choice.

    Returns:
        The object, made of dict (entries with string keys only), list, tuple, str, bytes, numbers, None, `Global`,
        `Tensor`, `Storage` and `IGNORED`. It may contain itself.
        All storages that it names, by key.

    Raises:
        WeightsError: it is no pickle, is cut short, or asks for anything but the making of tensors.
    """
    machine = _Machine(room)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
    except ValueError as error:  # all that pickletools raises, about bytes that are no pickle
        raise damaged(f"its pickle cannot be read ({str(error)[:100]})") from None
    return machine.pop(), machine.storages


class _Machine:
    def __init__(self, room: int):
        self.room = room
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            if isinstance(argument, int) and argument.bit_length() > MOST_BITS:
                raise damaged("its pickle contains an integer of more than 128 bits")
            self.stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            if argument not in self.memo:
                raise damaged("its pickle uses a value that it never stored")
            self.stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[name])])))
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name == "GLOBAL":
            self.stack.append(_global(argument.replace(" ", ".", 1)))
        elif name not in ("PROTO", "FRAME", "STOP"):
            if name not in _ON_THE_STACK:
                raise damaged(f"its pickle contains {name}, which torch.save never writes")
            _ON_THE_STACK[name](self)

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def top(self) -> Any:
        if not self.stack:
            raise damaged("its pickle takes a value from an empty stack")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        if not self.below:
            raise damaged("its pickle closes a bracket that it never opened")
        items, self.stack = self.stack, self.below.pop()
        return items

    def close_tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def close_list(self) -> None:
        items = self.since_mark()
        self.stack.append(items)

    def close_dict(self) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def close_frozenset(self) -> None:
        self.since_mark()
        self.stack.append(IGNORED)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise damaged("its pickle names a class by something that is no text")
        self.stack.append(_global(f"{module}.{name}"))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise damaged("its pickle calls something that is no function")
        self.stack.append(self.made(function.name, arguments))

    def made(self, name: str, arguments: tuple) -> Any:
        if name in _REBUILT and len(arguments) >= _REBUILT[name]:
            return _tensor(*arguments[:4])
        if name in (_PARAMETER, _SIZE) and arguments:
            return arguments[0]
        if name == _ORDERED_DICT:
            return self.ordered_dict(arguments)
        if name in _INERT:
            return IGNORED
        raise damaged(f"its pickle calls {name} with {len(arguments)} arguments")

    def ordered_dict(self, arguments: tuple) -> dict[str, Any]:
        """Empty, or (as Python 2 wrote it) from a list of pairs."""
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise damaged("its pickle makes an OrderedDict of something that is no list of pairs")
        self.room -= len(pairs)
        if self.room < 0:
            raise damaged("its pickle repeats one list again and again")
        return {key: value for key, value in pairs if isinstance(key, str)}

    def persistent(self) -> None:
        """A storage: ("storage", class, key, device, count), in the legacy layout followed by None."""
        record = self.pop()
        if isinstance(record, tuple) and len(record) == 6 and record[5] is None:
            record = record[:5]
        match record:
            case ("storage", Global(name), str(key), _, int(count)) if (
                name.removeprefix("torch.") in STORAGES and count >= 0
            ):
                storage = Storage(STORAGES[name.removeprefix("torch.")], key, count)
            case _:
                raise damaged("its pickle refers to a storage in a form that torch.save does not write")
        if self.storages.setdefault(key, storage) != storage:
            raise damaged(f"it describes storage {key[:40]!r} in two ways")
        self.stack.append(storage)

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif target is not IGNORED:
            raise damaged("its pickle appends to something that is no list")

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if len(items) % 2 or not (isinstance(target, dict) or target is IGNORED):
            raise damaged("its pickle sets items of something that is no dict")
        if target is not IGNORED:  # only a string can be the name of a weight
            target.update((key, value) for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, str))


_ON_THE_STACK: dict[str, Callable[[_Machine], Any]] = {
    "POP": _Machine.pop,
    "POP_MARK": _Machine.since_mark,
    "DUP": lambda machine: machine.stack.append(machine.top()),
    "TUPLE": _Machine.close_tuple,
    "LIST": _Machine.close_list,
    "DICT": _Machine.close_dict,
    "FROZENSET": _Machine.close_frozenset,
    "APPEND": lambda machine: machine.extend([machine.pop()]),
    "APPENDS": lambda machine: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine: machine.set_items(machine.since_mark()),
    "ADDITEMS": _Machine.since_mark,  # of a set, which holds no weights
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "BUILD": _Machine.pop,  # attributes of an object (a state dict's version numbers): none is a weight
    "BINPERSID": _Machine.persistent,
}
"""The instructions that take all they need from the stack."""


def _global(name: str) -> Global:
    if name not in _KNOWN:
        shown = ascii(name[:100])[1:-1]
        raise WeightsError(
            f"the file wants to call {shown}; it was not read further, and nothing in it was executed. Files of weights "
            f"call nothing; one that was saved as a whole model does, and may do harm. {RIGHT}"
        )
    return Global(name)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise damaged("its pickle makes a tensor of something that is no storage, shape and strides")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise damaged(f"its pickle makes a tensor of {len(shape)} sizes and {len(strides)} strides")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise damaged("its pickle makes a tensor whose offset, sizes or strides are not all whole numbers from 0 up")
    return Tensor(storage, offset, shape, strides)
