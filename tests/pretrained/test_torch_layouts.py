"""Storages and views of both layouts of torch.save: strides, offsets, byte order, bounds."""

import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.pretrained.weight_writers import described, saved, saved_root, tensor, zip_file

TORCH_LAYOUTS = ("legacy", "zip")
TEN = np.arange(10, dtype=np.float32)


def test_bfloat16_is_widened_bit_by_bit(read):
    every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    got = read(saved("zip", {"w": every}))["w"]
    np.testing.assert_array_equal(got, every.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64"])
def test_the_byte_order_of_a_zip_file_is_honoured(read, refused, dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    array = np.array([1, -2, 300]).astype(kind)
    swapped = array.view(f"u{array.itemsize}").byteswap()
    root = {"w": tensor("0", dtype, 3, (3,), (1,))}
    np.testing.assert_array_equal(read(zip_file(root, {"0": swapped}, "big"))["w"], array.astype(np.float64))
    np.testing.assert_array_equal(read(zip_file(root, {"0": array}, None))["w"], array.astype(np.float64))
    refused(zip_file(root, {"0": array}, "middle"), "neither little nor big")


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_strides_offsets_and_shared_storages_are_honoured(read, layout):
    base = np.arange(24, dtype=np.float32)

    def view(*arguments):
        return tensor("7", "float32", 24, *arguments, legacy=layout == "legacy")

    root = {
        "whole": view((2, 3, 4), (12, 4, 1)),
        "transposed": view((4, 3, 2), (1, 4, 12)),
        "channels_last": view((1, 2, 3, 4), (2**70, 1, 8, 2)),
        "part": view((2, 2), (12, 2), 5),
        "last": view((), (), 23),
        "tied": view((24,), (1,)),
        "expanded": view((3, 2), (0, 1), 4),
        "none": view((0, 5), (5, 1), 24),
    }
    weights = read(saved_root(layout, root, {"7": base}))
    cube = base.reshape(2, 3, 4)
    np.testing.assert_array_equal(weights["whole"], cube)
    np.testing.assert_array_equal(weights["transposed"], cube.transpose(2, 1, 0))
    np.testing.assert_array_equal(weights["channels_last"], base.reshape(3, 4, 2).transpose(2, 0, 1)[None])
    np.testing.assert_array_equal(weights["part"], [[5, 7], [17, 19]])
    assert weights["last"].shape == () and weights["last"] == 23 and weights["none"].shape == (0, 5)
    np.testing.assert_array_equal(weights["expanded"], [[4, 5]] * 3)
    assert not np.shares_memory(weights["whole"], weights["tied"])
    assert all(array.flags.c_contiguous for array in weights.values())


def test_compressed_archives_are_not_unpacked(refused):
    root, storages = described({"w": np.zeros(1_000_000, np.float32)}, False)
    content = zip_file(root, storages, compression=zipfile.ZIP_DEFLATED)
    assert len(content) < 10_000
    tracemalloc.start()
    refused(content, "compressed")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


VIEWS = {
    "one too far": (tensor("0", "float32", 10, (3,), (1,), 8), "reaches to element 10 of a storage of 10"),
    "stride": (tensor("0", "float32", 10, (2, 2), (9, 1)), "reaches to element 10"),
    "huge stride": (tensor("0", "float32", 10, (2,), (2**100,)), "reaches to element"),
    "negative offset": (tensor("0", "float32", 10, (3,), (1,), -1), "whole numbers"),
    "negative stride": (tensor("0", "float32", 10, (3,), (-1,), 5), "whole numbers"),
    "negative size": (tensor("0", "float32", 10, (-3,), (1,)), "whole numbers"),
    "float offset": (tensor("0", "float32", 10, (3,), (1,), 1.0), "whole numbers"),
    "size True": (tensor("0", "float32", 10, (True,), (1,)), "whole numbers"),
    "other rank": (tensor("0", "float32", 10, (3, 1), (1,)), "2 sizes and 1 strides"),
    "rank 65": (tensor("0", "float32", 10, (1,) * 65, (1,) * 65), "65 sizes"),
    "negative count": (tensor("0", "float32", -10, (3,), (1,)), "form that torch.save does not write"),
    "wider type": (tensor("0", "float64", 10, (3,), (1,)), "instead of 80|reaches to"),
    "no such storage": (tensor("1", "float32", 10, (3,), (1,)), "data/1|belongs to no tensor"),
    "unknown type": (tensor("0", "", 10, (3,), (1,), storage="QInt8Storage"), "wants to call torch.QInt8Storage"),
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("what", VIEWS)
def test_views_outside_their_storage_are_refused(refused, layout, what):
    view, match = VIEWS[what]
    refused(saved_root(layout, {"w": view}, {"0": TEN}), match)
