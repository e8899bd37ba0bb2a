"""Reading of weights from bytes, by way of a file."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from cnnvision.errors import WeightsError
from cnnvision.pretrained.torch_files import read_weights


@pytest.fixture
def read(tmp_path: pathlib.Path) -> Callable[[bytes], dict[str, np.ndarray]]:
    """Reads weights from bytes; the file's suffix says nothing about them."""
    path = tmp_path / "given.bin"

    def read_bytes(content: bytes) -> dict[str, np.ndarray]:
        path.write_bytes(content)
        return read_weights(path)

    return read_bytes


@pytest.fixture
def refused(read: Callable) -> Callable[[bytes, str], None]:
    """Asserts that bytes are refused by a WeightsError that names the file, and then says what matches the pattern."""

    def assert_refused(content: bytes, match: str) -> None:
        with pytest.raises(WeightsError, match=f"(?s)given.bin: .*({match})"):
            read(content)

    return assert_refused
