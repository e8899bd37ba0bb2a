"""The two layouts of files that `torch.save` writes, and the arrays in them.

Both hold a pickle that describes the tensors, and, separately, the storages (runs of raw elements) that tensors view.

    legacy  until torch 1.5: pickles of a magic number, the protocol's version, facts about the machine, the object, the list
            of storage keys; then, in the list's order, each storage's element count (int64) and elements; little-endian.
    zip     since torch 1.6: an uncompressed zip archive of NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder.
"""

import dataclasses
import io
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from cnnvision.errors import WeightsError
from cnnvision.pretrained.torch_pickle import read_pickle
from cnnvision.pretrained.torch_records import RIGHT, Storage, Tensor, damaged

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001

MOST_REPEATS = 4
"""All tensors together take at most this multiple of the file's size: tied weights share storages, but an expanded tensor
(stride 0) could turn one element into any amount of memory."""

_UNZIP_FAILURES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    EOFError,
    OSError,
    RuntimeError,  # encrypted; and NotImplementedError, of a newer zip
)
"""What `zipfile` raises about bytes that are no good zip archive."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        root: the object that was saved, as `torch_pickle.read_pickle` returns it.
        fetch: the raw elements of a storage; raises WeightsError where they are not as many as they should be.
        byte_order: "<" or ">".
    """

    root: Any
    fetch: Callable[[Storage], bytes]
    byte_order: str = "<"


def open_legacy(data: mmap.mmap) -> Contents:
    """Reads all of a legacy file but its elements.

    Raises:
        WeightsError: it is another kind of pickle, is damaged, or wants to call something.
    """
    size = len(data)
    data.seek(0)
    magic, _ = read_pickle(data, size)
    if magic != MAGIC:
        raise WeightsError(f"the file is a Python pickle, but not one of torch.save. {RIGHT}")
    version, _ = read_pickle(data, size)
    if version != LEGACY_VERSION:
        raise damaged(f"its version is not {LEGACY_VERSION}")
    read_pickle(data, size)
    root, storages = read_pickle(data, size)
    keys, _ = read_pickle(data, size)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise damaged("its list of storages is none")
    starts = {}
    position = data.tell()
    for key in keys:
        if key in starts or key not in storages:
            raise damaged(f"storage {key[:40]!r} {'comes twice' if key in starts else 'belongs to no tensor'}")
        if position + 8 > size:
            raise damaged(f"it ends before storage {key[:40]!r}")
        (count,) = struct.unpack_from("<q", data, position)
        if count != storages[key].count:
            raise damaged(f"storage {key[:40]!r} should have {storages[key].count} elements, and says {count}")
        starts[key] = position + 8
        position += 8 + _bytes_of(storages[key])
        if position > size:
            raise damaged(f"it has {size:,} bytes, and storage {key[:40]!r} alone reaches to {position:,}")
    if position != size or len(starts) != len(storages):
        raise damaged(f"its {len(starts)} of {len(storages)} storages end at byte {position:,} of {size:,}")

    def fetch(storage: Storage) -> bytes:
        start = starts[storage.key]
        return data[start : start + _bytes_of(storage)]

    return Contents(root, fetch)


def open_zip(file: BinaryIO, size: int) -> Contents:
    """Reads the description in a zip file.

    Args:
        file: open; must stay open while the contents are used.
        size: of the file, bytes.

    Raises:
        WeightsError: it is another kind of archive, is damaged, or wants to call something.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _UNZIP_FAILURES as error:
        raise damaged(f"it begins as a zip archive, and has no good table of contents ({str(error)[:100]})") from None
    names = set(archive.namelist())
    descriptions = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(descriptions) != 1:
        raise WeightsError(f"the file is a zip archive, but not one of torch.save: it has no single NAME/data.pkl. {RIGHT}")
    folder = descriptions[0].removesuffix("data.pkl")
    if any(name == f"{folder}constants.pkl" or name.startswith(f"{folder}code/") for name in names):
        raise WeightsError(
            "the file is a TorchScript archive, that is a program, not a file of weights. Save its weights alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)."
        )
    order = _member(archive, f"{folder}byteorder", size) if f"{folder}byteorder" in names else b"little"
    if order not in (b"little", b"big"):
        raise damaged("its byte order is neither little nor big")
    pickled = _member(archive, descriptions[0], size)
    root, _ = read_pickle(io.BytesIO(pickled), len(pickled))

    def fetch(storage: Storage) -> bytes:
        elements = _member(archive, f"{folder}data/{storage.key}", size)
        if len(elements) != _bytes_of(storage):
            raise damaged(f"storage {storage.key[:40]!r} has {len(elements):,} bytes instead of {_bytes_of(storage):,}")
        return elements

    return Contents(root, fetch, "<" if order == b"little" else ">")


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    try:
        info = archive.getinfo(name)
        # torch maps these files into memory, and so never compresses: thus no member can be larger than the file.
        if info.compress_type != zipfile.ZIP_STORED or not 0 <= info.file_size == info.compress_size <= size:
            raise damaged(f"its part {name[:80]!r} is compressed or larger than the file, which torch.save never writes")
        return archive.read(info)
    except _UNZIP_FAILURES as error:
        raise damaged(f"its part {name[:80]!r} cannot be read ({str(error)[:100]})") from None


def read_tensors(tensors: dict[str, Tensor], contents: Contents, size: int) -> dict[str, np.ndarray]:
    """Reads the elements of tensors.

    Args:
        tensors: by name.
        contents: of their file.
        size: of that file, bytes.

    Returns:
        Arrays of their own memory, C-contiguous, in the machine's byte order, under the same names and in the same order;
        bfloat16 widened to float32, which changes no value.

    Raises:
        WeightsError: a tensor reaches outside its storage, or all together are far larger than the file.
    """
    total = 0
    for name, tensor in tensors.items():
        _check_bounds(name, tensor)
        total += math.prod(max(length, 1) for length in tensor.shape) * _item_size(tensor.storage.dtype)
        if total > MOST_REPEATS * size:
            raise damaged(f"up to {name[:80]!r} its tensors would take over {MOST_REPEATS} times the file's {size:,} bytes")
    by_storage: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        by_storage.setdefault(tensor.storage.key, []).append(name)
    arrays = {}
    for names in by_storage.values():
        storage = tensors[names[0]].storage
        elements = np.frombuffer(contents.fetch(storage), stored_dtype(storage.dtype, contents.byte_order))
        for name in names:
            arrays[name] = finished(_view(elements, tensors[name]), storage.dtype)
    return {name: arrays[name] for name in tensors}


def stored_dtype(dtype: str, byte_order: str = "<") -> np.dtype:
    """How elements lie in the file: bfloat16 and bool, of which NumPy has no safe view, as integers of their size."""
    return np.dtype({"bfloat16": "uint16", "bool": "uint8"}.get(dtype, dtype)).newbyteorder(byte_order)


def finished(elements: np.ndarray, dtype: str) -> np.ndarray:
    """A copy of elements as they lie in the file (`stored_dtype`), as the array that their `dtype` means."""
    if dtype == "bfloat16":
        return np.left_shift(elements.astype(np.uint32, order="C"), np.uint32(16)).view(np.float32)
    if dtype == "bool":
        return np.not_equal(elements, 0, order="C")
    return elements.astype(dtype, order="C")


def _view(elements: np.ndarray, tensor: Tensor) -> np.ndarray:
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, elements.dtype)
    # The stride along an axis of length 1 means nothing, and may be too large for NumPy.
    strides = [
        stride * elements.itemsize if length > 1 else 0 for length, stride in zip(tensor.shape, tensor.strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False)


def _check_bounds(name: str, tensor: Tensor) -> None:
    if 0 in tensor.shape:
        return
    steps = ((length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True))
    last = tensor.offset + sum(steps)
    if last >= tensor.storage.count:
        raise damaged(f"tensor {name[:80]!r} reaches to element {last} of a storage of {tensor.storage.count}")


def _item_size(dtype: str) -> int:
    return stored_dtype(dtype).itemsize


def _bytes_of(storage: Storage) -> int:
    return storage.count * _item_size(storage.dtype)
