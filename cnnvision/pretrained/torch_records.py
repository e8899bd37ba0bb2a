"""What a pickle of `torch.save` says, as plain records: names, storages, tensors; and the errors of files of weights."""

import dataclasses

from cnnvision.errors import WeightsError

RIGHT = "Right is what torch.save(model.state_dict(), FILE) writes, or a .safetensors file."

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""torch's storage classes and the type of their elements."""

MOST_DIMENSIONS = 64
"""Of a tensor, as in NumPy and torch."""


@dataclasses.dataclass(frozen=True)
class Global:
    """The name of a class or function, as "module.name"; never the thing itself."""

    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of elements that lies elsewhere in the file.

    Attributes:
        dtype: one of `STORAGES`' values.
        key: under which the file keeps it.
        count: how many elements the pickle says it has.
    """

    dtype: str
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides in elements. Non-negative numbers, but not checked against the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ignored:
    """Stands for a value that is not read: options, scores, sets."""


IGNORED = _Ignored()


def damaged(what: str) -> WeightsError:
    """The error of a file that begins as one of weights, and then does not go on as one."""
    return WeightsError(f"the file is damaged or cut short: {what}. Fetch or save it again.")
