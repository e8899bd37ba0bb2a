"""Pickles of torch.save: nothing in them is called, and few bytes cannot demand much memory or time."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from tests.pretrained.weight_writers import (
    Call,
    Name,
    Raw,
    described,
    legacy_file,
    pickled,
    saved_root,
    tensor,
    zip_file,
)

TORCH_LAYOUTS = ("legacy", "zip")
SMALL = {"a": np.array([[1.5, -2.0]], np.float32), "b": np.array(7, np.int64)}
TEN = np.arange(10, dtype=np.float32)


def test_other_forms_of_the_same_dict_are_read(read):
    plain, storages = described(SMALL, False)
    ordered = Name("collections", "OrderedDict")
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), (plain["a"], True, Call(ordered, ())))
    as_python_2 = Call(ordered, ([["a", plain["a"]], ["b", plain["b"]]],))
    for root in ({**plain, "a": parameter}, as_python_2):
        weights = read(zip_file(root, storages))
        assert list(weights) == ["a", "b"] and weights["b"] == 7


HUGE = 2**31 - 1
ALLOCATIONS = {
    "memo": (Raw(b"}r" + struct.pack("<I", HUGE) + b"0N"), "no dict"),
    "text": (Raw(b"X" + struct.pack("<I", HUGE) + b"abc"), "cannot be read"),
    "bytes": (Raw(b"\x8e" + struct.pack("<Q", 2**62) + b"abc"), "cannot be read"),
    "bytearray": (Raw(b"\x96" + struct.pack("<Q", 2**40) + b"abc"), "cannot be read"),
    "expanded": ({"w": tensor("0", "float32", 10, (HUGE, 10), (0, 1))}, "4 times the file's"),
    "expanded empty": ({"w": tensor("0", "float32", 10, (0, 2**100), (0, 1))}, "4 times the file's"),
    "repeated": ({str(i): tensor("0", "float32", 10, (1500,), (0,)) for i in range(80)}, "4 times the file's"),
    "long storage": ({"w": tensor("0", "float32", 2**60, (2,), (1,))}, "40 bytes instead of|should have"),
    "one list in many dicts": (
        Raw(b"]q\x00" + b"(" + b"X\x01\x00\x00\x00aN\x86" * 50 + b"e0" + b"ccollections\nOrderedDict\nh\x00\x85R" * 100),
        "again and again",
    ),
    "hash": (Raw(b"})" + b"2\x86" * 200 + b"Ns"), "without tensors"),
    "deep": (Raw(b"]" * 2_000 + b"a" * 1_999), "one list"),
    "long number": (Raw(b"\x8b" + struct.pack("<i", 9000) + b"\x7f" * 9000), "128 bits"),
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("what", ALLOCATIONS)
def test_a_small_file_cannot_demand_much_memory_or_time(refused, layout, what):
    root, match = ALLOCATIONS[what]
    content = saved_root(layout, root, {} if isinstance(root, Raw) else {"0": TEN})
    tracemalloc.start()
    refused(content, match)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_one_storage_described_in_two_ways_is_refused(refused):
    root = {"v": tensor("0", "float32", 10, (2,), (1,)), "w": tensor("0", "int32", 10, (2,), (1,))}
    refused(zip_file(root, {"0": TEN}), "storage '0' in two ways")


CALLS = {
    "os.system": ("os", "system", "touch {}"),
    "posix.system": ("posix", "system", "touch {}"),
    "builtins.eval": ("builtins", "eval", "open({!r}, 'w').close()"),
    "builtins.exec": ("builtins", "exec", "open({!r}, 'w').close()"),
    "os.mkdir": ("os", "mkdir", "{}"),
}


@pytest.mark.parametrize("place", ["legacy", "zip", "first", "plain", "later protocol", "among weights"])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_that_a_file_wants_to_call_is_called(refused, tmp_path, name, place):
    module, function, argument = CALLS[name]
    trace = tmp_path / "it_ran"
    call = Call(Name(module, function), (argument.format(str(trace)),))
    tensors, storages = described(SMALL, place != "zip")
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, function, argument.format(str(trace)))]
    content = {
        "legacy": lambda: legacy_file(call, {}),
        "zip": lambda: zip_file({**tensors, "x": call}, storages),
        "first": lambda: pickled(call) + legacy_file(tensors, storages),
        "plain": lambda: pickled(call),
        "later protocol": lambda: legacy_file(Raw(texts[0] + texts[1] + b"\x93" + texts[2] + b"\x85R"), {}),
        "among weights": lambda: legacy_file({**tensors, "epoch": call}, storages),
    }[place]()
    refused(content, f"wants to call {name}; it was not read further")
    assert not trace.exists()


def test_the_calls_of_these_tests_are_live(tmp_path):
    for name, (module, function, argument) in CALLS.items():
        trace = tmp_path / name
        pickle.loads(pickled(Call(Name(module, function), (argument.format(str(trace)),))))
        assert trace.exists()
