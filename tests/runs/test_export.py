"""Exported networks: the script beside them, which knows nothing of this package, predicts what `predict` does."""

import ast
import importlib.util
import json
import shlex
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from cnnvision.data.augment.resampling import resize
from cnnvision.data.batching import empty_batch
from cnnvision.data.decode import decode_image
from cnnvision.errors import ConfigError, RunError
from cnnvision.evaluation.pasting import pasted_runs
from cnnvision.models import make_task
from cnnvision.pretrained.torch_files import read_weights
from cnnvision.runs.configuration import load_config
from cnnvision.runs.export import SCRIPT, flat
from cnnvision.runs.open import Trained
from cnnvision.task import DataInfo
from cnnvision.training.sharding import make_mesh
from experiments import export, predict

CLASSES = ("circle", "square", "star")
EVERYTHING = {"model.detections.score_above": "0.0"}  # networks as drawn are sure of nothing
CASES = {
    "crop": ("classifier_shapes:smoke", {"data.resize": "crop"}),
    "stretch": ("localizer_shapes:smoke", {}),
    "letterbox": ("yolo_shapes:smoke", {"data.resize": "letterbox", **EVERYTHING}),
    "masks": ("mask_rcnn_shapes:smoke", {"data.resize": "letterbox", **EVERYTHING}),
    "map": ("encdec_shapes:smoke", {"data.resize": "letterbox"}),
    "tiles": ("unet_membrane:smoke", {}),
}
"""What a photograph meets on its way -> a network, and keys of its config."""


def drawn(config, keys):
    """A network as initialised."""
    config = load_config(config, list(keys.items()))
    info, mesh = DataInfo(CLASSES, CLASSES), make_mesh(jax.devices()[:1])
    task = make_task(config, info)
    return Trained(config, info, task, *jax.jit(task.init)(jax.random.key(0), empty_batch(task.inputs, 1)), 7, mesh)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder with images that are wider, higher, smaller and larger than inputs; one lies on its side."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, size in {"a": (150, 101), "b": (64, 64), "c": (31, 200), "d": (300, 402), "e": (1, 5)}.items():
        coarse = rng.integers(0, 256, (max(size[0] // 9, 1), max(size[1] // 9, 1), 3), dtype=np.uint8)
        Image.fromarray(resize(coarse, size)).save(folder / f"{name}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "a.png").convert("L").save(folder / "f.jpg", exif=exif)
    return folder


def as_array(file):
    """The pixels of a PNG."""
    with Image.open(file) as image:
        return np.array(image)


def script_of(folder):
    """The exported script as a module."""
    spec = importlib.util.spec_from_file_location("exported", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", CASES)
def test_the_script_predicts_what_predict_does(case, tmp_path, monkeypatch, photographs):
    trained = drawn(*CASES[case])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    said = []
    about = export.run("runs/x", str(tmp_path / "exported"), say=said.append)
    expected = predict.run("runs/x", str(photographs), str(tmp_path / "predicted"), say=said.append)
    script = script_of(tmp_path / "exported")
    network = jax.export.deserialize(bytearray((tmp_path / "exported" / "predict.bin").read_bytes()))
    given = script.parameters((tmp_path / "exported" / "parameters.safetensors").read_bytes())
    assert len(expected) == 6 and about["readable_by"] in said[1]
    maps = tmp_path / "maps"
    maps.mkdir()
    compared = 0
    for each in expected:
        found = script.predict(str(photographs / each["file"]), network, given, maps)
        size = (found["height"], found["width"])
        assert size == (each["height"], each["width"])
        if "mask" in each:
            assert found["mask"] == f"{each['file']}.mask.png"
            np.testing.assert_array_equal(as_array(maps / found["mask"]), as_array(tmp_path / "predicted" / each["mask"]))
            assert found["shares"] == pytest.approx(each["shares"], abs=1e-6)
        for one, other in zip(found.get("detections", [found]), each.get("detections", [each]), strict=True):
            assert one.get("class") == other.get("class")
            assert one.get("score") == pytest.approx(other.get("score"), abs=2e-6)
            assert one.get("box") == pytest.approx(other.get("box"), abs=2e-3)
            if "detections" in each and "mask" in one:
                mask, expected_mask = coco_masks.frPyObjects(one["mask"], *size), other["mask"]
                different = coco_masks.decode(mask) != coco_masks.decode(expected_mask)
                assert different.sum() <= 0.01 * other["area"] + 2
            compared += 1
    assert compared >= 6


def test_the_script_runs_by_itself(tmp_path, monkeypatch, photographs):
    """With no more than its docstring says, in another folder, for several photographs of one program."""
    trained = drawn(*CASES["stretch"])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    export.run("runs/x", str(tmp_path), say=lambda line: None)
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"jax", "numpy", "PIL"}
    script, output = str(tmp_path / "predict.py"), tmp_path / "found"
    (tmp_path / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, "-I", script, str(output), "a.png", str(tmp_path / "broken.png"), "b.png"]
    done = subprocess.run(command, cwd=photographs, capture_output=True, text=True, check=False)
    found = json.loads((output / "predictions.json").read_text())
    assert done.returncode == 1 and "broken.png: cannot identify" in done.stderr
    assert [each["file"] for each in found] == ["a.png", str(tmp_path / "broken.png"), "b.png"]
    assert all(found[row]["class"] in CLASSES for row in (0, 2)) and "cannot identify" in found[1]["error"]
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "python predict.py OUTPUT PHOTOGRAPH" in done.stderr


def test_what_lies_beside_the_script(tmp_path, monkeypatch):
    trained = drawn(*CASES["letterbox"])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    content = export.run("runs/x", str(tmp_path), say=lambda line: None)
    assert json.loads((tmp_path / "export.json").read_text()) == content
    assert content["classes"] == list(CLASSES) and content["platforms"] == ["cpu", "cuda", "tpu"] and content["step"] == 7
    assert content["export_again"].endswith(f"export --workdir=runs/x --step=7 --output={tmp_path}")
    assert content["outputs"]["boxes"] == {"shape": ["b", content["outputs"]["scores"]["shape"][1], 4], "dtype": "float32"}
    assert content["readable_by"].startswith(f"JAX {jax.__version__},") and content["jax"] == jax.__version__
    assert content["score_threshold"] == 0.5 and "uint8 RGB" in content["image"] and content["kind"] == "objects"
    weights = read_weights(tmp_path / "parameters.safetensors")
    parameters = flat(trained.params, trained.model_state)
    assert weights.keys() == parameters.keys()
    for name, value in parameters.items():
        np.testing.assert_array_equal(weights[name], value)


def test_a_batch_of_any_size_is_predicted(tmp_path, monkeypatch):
    trained = drawn(*CASES["letterbox"])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    export.run("runs/x", str(tmp_path), say=lambda line: None)
    network = jax.export.deserialize(bytearray((tmp_path / "predict.bin").read_bytes()))
    given = flat(trained.params, trained.model_state)
    images = np.random.default_rng(0).integers(0, 256, (3, *trained.task.inputs.sizes[0], 3), dtype=np.uint8)
    sizes = np.array([trained.task.inputs.sizes[0]] * 3, np.int32)
    together = network.call(given, images, sizes)
    for row in range(3):
        alone = network.call(given, images[row : row + 1], sizes[:1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][row], rtol=1e-5, atol=1e-5)


def test_a_network_that_looks_at_proposals_of_others_is_not_exported(tmp_path, monkeypatch):
    trained = drawn("rcnn_shapes:smoke", {})
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    with pytest.raises(ConfigError, match=r"config.model.name = rcnn: looks at proposals \(selective_search\)"):
        export.run("runs/x", str(tmp_path / "exported"), say=lambda line: None)
    assert not (tmp_path / "exported").exists()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script beside some export.json, for what needs no network."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "predict.py").write_text(SCRIPT.read_text())
    (folder / "export.json").write_text(json.dumps({"size": [64, 64]}))
    return script_of(folder)


def test_it_resizes_as_the_pipeline_does(script):
    rng = np.random.default_rng(0)
    for _ in range(200):
        sides, size = rng.integers(1, 120, 2), tuple(rng.integers(1, 120, 2).tolist())
        image = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
        np.testing.assert_array_equal(script.resized(image, size), resize(image, size))


@pytest.mark.parametrize("alignment", ["exact", "torchvision"])
def test_it_pastes_masks_as_predict_does(script, alignment, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setitem(script.ABOUT, "alignment", alignment)
    for _ in range(200):
        size, mask = tuple(rng.integers(1, 60, 2).tolist()), rng.random((7, 7), dtype=np.float32)
        box = np.sort(rng.uniform(-5, 65, (2, 2)), axis=0).ravel().astype(np.float32)
        expected, found = pasted_runs(mask, box, size, alignment), script.runs_of(mask, box, size)
        different = pixels(expected, size) != pixels(np.array(found["counts"]), size)
        assert found["size"] == list(size) and different.sum() <= 1, (box, size)


def pixels(runs, size):
    """bool [H, W] of run lengths."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T


def test_a_script_of_ones_own_is_not_overwritten(tmp_path, monkeypatch):
    trained = drawn(*CASES["letterbox"])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    (tmp_path / "predict.py").write_text("my own")
    with pytest.raises(RunError, match=r"has a predict\.py that `export` did not write"):
        export.run("runs/x", str(tmp_path), say=lambda line: None)
    assert (tmp_path / "predict.py").read_text() == "my own"


def test_of_sixteen_bits_it_reads_the_upper_eight(script, tmp_path):
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        script.read(tmp_path / "deep.png"), decode_image((tmp_path / "deep.png").read_bytes(), "x")
    )
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "deeper.tif")
    with pytest.raises(ValueError, match="whose range is not known"):
        script.read(tmp_path / "deeper.tif")


def test_the_command_that_writes_it_again_is_the_one_that_was_typed(tmp_path, monkeypatch):
    trained, given = drawn(*CASES["letterbox"]), f"--output={tmp_path / 'a folder'}"
    monkeypatch.setattr("cnnvision.runs.open.from_weights", lambda *a, **k: trained)
    flags = ["--config=configs/yolo_shapes.py:smoke", "--config.model.pretrained=my weights.pth", given]
    assert export.command(flags) == 0
    content = json.loads((tmp_path / "a folder" / "export.json").read_text())
    assert shlex.split(content["export_again"])[-3:] == flags
