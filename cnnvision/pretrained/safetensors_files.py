"""Reads and writes `.safetensors` files: the length of a JSON header (uint64, little-endian), the header, the elements.

The format's rules are those of https://huggingface.co/docs/safetensors: each entry has a dtype, a shape and a range of bytes
behind the header; the ranges cover these bytes without gap or overlap.
"""

import json
import math
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnvision.errors import WeightsError, nearest
from cnnvision.pretrained.torch_layouts import finished, stored_dtype
from cnnvision.pretrained.torch_records import MOST_DIMENSIONS, damaged

MOST_HEADER_BYTES = 100_000_000
LIMIT = 2**48
"""Of all numbers in a header: no file is so long, and NumPy counts in 63 bits."""

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def is_safetensors(data: mmap.mmap) -> bool:
    """Whether the file begins as this format does: a length that it allows, then "{"."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= MOST_HEADER_BYTES


def read_safetensors(data: mmap.mmap) -> dict[str, np.ndarray]:
    """Reads all tensors, in the order of the header; bfloat16 is widened to float32.

    Raises:
        WeightsError: the header or a range is wrong, or the file is cut short.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise damaged(f"its header should end at byte {start:,}, and the file at {len(data):,}")
    try:
        header = json.loads(data[8:start], object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header is no JSON ({str(error)[:100]})") from None
    header.pop("__metadata__", None)
    entries = {name: _entry(name, record) for name, record in header.items()}
    reached, previous = 0, "the header"
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise damaged(f"tensor {name[:80]!r} begins at byte {begin}, but {previous} ends at byte {reached}")
        reached, previous = end, repr(name[:80])
    if start + reached != len(data):
        raise damaged(f"its tensors should end at byte {start + reached:,}, and the file ends at {len(data):,}")
    return {
        name: finished(np.frombuffer(data[start + begin : start + end], stored_dtype(dtype)).reshape(shape), dtype)
        for name, (dtype, shape, begin, end) in entries.items()
    }


def safetensors_of(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The content of a file with these tensors, in their order. Raises WeightsError for a dtype that the format lacks."""
    names, header, reached = {dtype: name for name, dtype in DTYPES.items()}, {}, 0
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    for name, array in arrays.items():
        if str(array.dtype) not in names:
            raise WeightsError(f"tensor {name!r} has dtype {array.dtype}, which no .safetensors file holds")
        offsets, reached = [reached, reached + array.nbytes], reached + array.nbytes
        header[name] = {"dtype": names[str(array.dtype)], "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8, as the format asks
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays.values())])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name occurs twice")
    return entries


def _entry(name: str, record: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Checks one entry; returns (dtype, shape, begin, end), whose sizes agree."""
    label = repr(name[:80])
    if not isinstance(record, dict) or not {"dtype", "shape", "data_offsets"} <= record.keys():
        raise damaged(f"entry {label} of its header lacks dtype, shape or data_offsets")
    dtype, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str):
        raise damaged(f"the dtype of tensor {label} is no text")
    if dtype not in DTYPES:
        raise WeightsError(f"tensor {label} has dtype {dtype[:40]!r}.{nearest(dtype[:40], DTYPES)}")
    if not _naturals(shape) or len(shape) > MOST_DIMENSIONS or math.prod(max(length, 1) for length in shape) >= LIMIT:
        raise damaged(f"the shape of tensor {label} is no list of at most {MOST_DIMENSIONS} whole numbers of a sane product")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise damaged(f"the data_offsets of tensor {label} are no rising pair of whole numbers")
    needed = math.prod(shape) * stored_dtype(DTYPES[dtype]).itemsize
    if needed != offsets[1] - offsets[0]:
        raise damaged(f"tensor {label} of {dtype} {shape} needs {needed} bytes, but has {offsets[1] - offsets[0]}")
    return DTYPES[dtype], tuple(shape), offsets[0], offsets[1]


def _naturals(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < LIMIT for number in numbers)
