"""Exported networks: the script beside them, which knows nothing of this package, predicts what `predict` does."""

import ast
import importlib.util
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from cnnvision.data.augment.resampling import resize
from cnnvision.data.batching import empty_batch
from cnnvision.errors import ConfigError
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
    assert len(expected) == 6 and about["readable_until"] in said[1]
    compared = 0
    for each in expected:
        found = script.predict(str(photographs / each["file"]), network, given)
        size = (found["height"], found["width"])
        assert size == (each["height"], each["width"])
        if "mask" in each:
            written = photographs / f"{each['file']}.mask.png"
            np.testing.assert_array_equal(as_array(written), as_array(tmp_path / "predicted" / each["mask"]))
            written.unlink()
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
    command = [sys.executable, "-I", str(tmp_path / "predict.py"), "a.png", "b.png"]
    found = subprocess.run(command, cwd=photographs, capture_output=True, text=True, check=True)
    found = json.loads(found.stdout)
    assert [each["file"] for each in found] == ["a.png", "b.png"] and all(each["class"] in CLASSES for each in found)


def test_what_lies_beside_the_script(tmp_path, monkeypatch):
    trained = drawn(*CASES["letterbox"])
    monkeypatch.setattr("cnnvision.runs.open.load", lambda *arguments: trained)
    content = export.run("runs/x", str(tmp_path), say=lambda line: None)
    assert json.loads((tmp_path / "export.json").read_text()) == content
    assert content["classes"] == list(CLASSES) and content["platforms"] == ["cpu", "cuda", "tpu"] and content["step"] == 7
    assert content["export_again"].endswith(f"export --workdir=runs/x --step=7 --output={tmp_path}")
    assert content["outputs"]["boxes"] == {"shape": ["b", content["outputs"]["scores"]["shape"][1], 4], "dtype": "float32"}
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
