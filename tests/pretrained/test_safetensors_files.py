"""Headers of safetensors files: each rule of the format, broken."""

import struct

import pytest

from tests.pretrained.weight_writers import (
    safetensors_bytes,
)


def entry(begin: int = 0, end: int = 8, dtype: object = "F32", shape: object = (2,)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "gap": ({"a": entry(0, 8), "b": entry(16, 24)}, "'b' begins at byte 16, but 'a' ends at byte 8"),
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, "'b' begins at byte 4, but 'a' ends at byte 8"),
    "late": ({"a": entry(4, 12)}, "'a' begins at byte 4, but the header ends at byte 0"),
    "beyond": ({"a": entry(0, 8), "b": entry(8, 32, shape=[6])}, "should end at"),
    "unused": ({"a": entry(0, 8)}, "should end at"),
    "size": ({"a": entry(0, 24)}, "needs 8 bytes, but has 24"),
    "falling": ({"a": entry(8, 0)}, "no rising pair"),
    "negative": ({"a": entry(-8, 0)}, "no rising pair"),
    "dtype": ({"a": entry(dtype="F33")}, r"dtype 'F33'\. Did you mean 'F32'\?"),
    "dtype list": ({"a": entry(dtype=[])}, "dtype of tensor 'a' is no text"),
    "shape text": ({"a": entry(shape="2")}, "shape of tensor 'a'"),
    "shape float": ({"a": entry(shape=[2.0])}, "shape of tensor 'a'"),
    "shape huge": ({"a": entry(0, 0, shape=[0, 2**40, 2**40])}, "shape of tensor 'a'"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, "lacks dtype, shape or data_offsets"),
    "no dict": ({"a": 3}, "lacks dtype, shape or data_offsets"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_wrong_headers_of_safetensors_are_refused(refused, what):
    header, match = HEADERS[what]
    refused(safetensors_bytes(header, bytes(24)), match)


def test_other_wrong_safetensors_are_refused(refused):
    record = '{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
    for text, match in (
        (f'{{"a": {record}, "a": {record}}}', "occurs twice"),
        ('{"a": ' + "[" * 100_000, "no JSON"),
        ('{"a": ' + "9" * 5000 + "}", "no JSON"),
        ("{" + "\xff" * 9, "no JSON|lacks"),
    ):
        content = text.encode("latin-1")
        refused(struct.pack("<Q", len(content)) + content, match)
    refused(struct.pack("<Q", 10**8) + b"{}", "header should end at byte 100,000,008")
    refused(struct.pack("<Q", 10**8 + 1) + b"{}", "unknown kind")
