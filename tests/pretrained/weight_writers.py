"""Writes small files of weights byte by byte, without torch: pickles, both layouts of torch.save, safetensors."""

import dataclasses
import io
import json
import struct
import zipfile
from typing import Any

import numpy as np

STORAGE_CLASSES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
SAFETENSORS_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
MAGIC = 0x1950A86A20F9469CFC6C
FACTS = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    """The result of calling a function."""

    function: Name
    arguments: tuple


@dataclasses.dataclass(frozen=True)
class Persistent:
    """A reference to what lies outside the pickle."""

    record: tuple


@dataclasses.dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


def pickled(value: Any) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + instructions(value) + b"."


def instructions(value: Any) -> bytes:
    match value:
        case Raw(code):
            return code
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return instructions(function) + instructions(arguments) + b"R"
        case Persistent(record):
            return instructions(record) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(digits)]) + digits
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(instructions, value)) + b"t"
        case list():
            return b"](" + b"".join(map(instructions, value)) + b"e"
        case dict():
            return b"}(" + b"".join(instructions(key) + instructions(item) for key, item in value.items()) + b"u"


def tensor(
    key: str, dtype: str, count: Any, shape: tuple, strides: tuple, offset: Any = 0, legacy: bool = False, storage: str = ""
) -> Call:
    """A view of a storage, as torch writes it."""
    name = Name("torch", storage or STORAGE_CLASSES[dtype])
    record = ("storage", name, key, "cpu", count)
    hooks = Call(Name("collections", "OrderedDict"), ())
    arguments = (Persistent((*record, None) if legacy else record), offset, shape, strides, False, hooks)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[axis + 1 :], dtype=int)) for axis in range(len(shape)))


def described(arrays: dict[str, np.ndarray], legacy: bool) -> tuple[dict[str, Call], dict[str, np.ndarray]]:
    """A state dict in which each array has its own storage; and the storages by key."""
    tensors, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        tensors[name] = tensor(str(number), array.dtype.name, array.size, array.shape, c_strides(array.shape), legacy=legacy)
        storages[str(number)] = array
    return tensors, storages


def legacy_file(root: Any, storages: dict[str, np.ndarray]) -> bytes:
    heads = [pickled(part) for part in (MAGIC, 1001, FACTS, root, list(storages))]
    return b"".join(heads) + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())


def zip_file(
    root: Any,
    storages: dict[str, np.ndarray],
    byteorder: str | None = "little",
    compression: int = zipfile.ZIP_STORED,
    others: tuple[str, ...] = (),
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled(root))
        if byteorder:
            archive.writestr("weights/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"weights/data/{key}", array.tobytes())
        for name in ("weights/version", *others):
            archive.writestr(name, "3\n")
    return file.getvalue()


def safetensors_file(arrays: dict[str, np.ndarray]) -> bytes:
    header, elements = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        begin, elements = len(elements), elements + array.tobytes()
        dtype = SAFETENSORS_NAMES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(elements)]}
    return safetensors_bytes(header, elements)


def safetensors_bytes(header: Any, elements: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + elements


def saved(layout: str, arrays: dict[str, np.ndarray]) -> bytes:
    """A file in one of the layouts "legacy", "zip", "safetensors"."""
    if layout == "safetensors":
        return safetensors_file(arrays)
    return saved_root(layout, *described(arrays, layout == "legacy"))


def saved_root(layout: str, root: Any, storages: dict[str, np.ndarray]) -> bytes:
    return {"legacy": legacy_file, "zip": zip_file}[layout](root, storages)
