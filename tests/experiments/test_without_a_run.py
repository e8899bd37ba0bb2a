"""`predict` and `evaluate` with a file of a whole network's weights in place of a run folder."""

import json

import jax
import numpy as np
import pytest

from cnnvision.errors import ConfigError, RunError, WeightsError
from cnnvision.models import make_task
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detectors import to_torchvision_detector
from cnnvision.pretrained.loading import to_torchvision
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import empty_batch
from cnnvision.runs.open import from_weights
from cnnvision.task import DataInfo
from cnnvision.training.sharding import make_mesh
from experiments import evaluate, predict
from tests.conftest import ROOT
from tests.data.planted import coco_annotation, encoded, picture, write
from tests.pretrained.weight_writers import safetensors_file


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr("cnnvision.runs.open.make_mesh", lambda: make_mesh(jax.devices()[:1]))
    for module in (predict, evaluate):
        monkeypatch.setattr(module, "cache_compilations", lambda: None)
    with jax.numpy_dtype_promotion("standard"):
        yield


def drawn(config, classes, export, layers, favoured):
    """A file of weights as torchvision's would be, of a config's network with so many classes, drawn; `layers` of its
    classes say the same to every image: `favoured`, by row; for each of their default boxes, if there are several.
    """
    rng = np.random.default_rng(0)
    task = make_task(config, DataInfo(tuple(map(str, range(classes)))))
    network = jax.eval_shape(task.init, jax.random.key(0), empty_batch(task, 1))
    draw = lambda leaf: 0.05 * rng.standard_normal(leaf.shape, np.float32)
    params, model_state = jax.tree.map(draw, network)
    state = export(params, jax.tree.map(lambda leaf: abs(leaf) + 1, model_state), config.model.backbone.name)
    for layer in layers:
        state[f"{layer}.weight"] *= 0
        outputs = len(state[f"{layer}.bias"])
        of_box = outputs if outputs % (1 + classes) else 1 + classes
        state[f"{layer}.bias"] = np.array([favoured.get(row % of_box, 0.0) for row in range(outputs)], np.float32)
    return safetensors_file({key: array for key, array in state.items() if array.dtype == np.float32})


SMALL = [("data.size", "(64, 64)"), ("data.more_sizes", "()"), ("data.eval_batch_size", "2"), ("data.workers", "0")]
DETECTOR = [
    *SMALL, ("model.backbone.name", "resnet18"), ("model.backbone.dtype", "float32"), ("model.strides", "(8, 16)"),
    ("model.anchors.sizes", "((16,), (32,), (64,))"), ("model.width", "8"), ("model.regions.hidden", "(16,)"),
    ("model.proposals.before", "30"), ("model.proposals.most", "10"),
]  # fmt: skip


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A file of Faster R-CNN's weights on ResNet-18, for COCO's ids: persons, stop signs and cats everywhere."""
    config = load_config(f"{ROOT}/configs/faster_rcnn_coco.py", DETECTOR)
    path, favoured = tmp_path_factory.mktemp("weights") / "detector.safetensors", {0: 6.0, 1: 8.0, 13: 7.9, 17: 7.8}
    path.write_bytes(drawn(config, 90, to_torchvision_detector, ["roi_heads.box_predictor.cls_score"], favoured))
    return path


def flags(file, options, name="faster_rcnn_coco"):
    keys = [f"--config.{key}={value}" for key, value in [*options, ("model.pretrained", file)]]
    return [f"--config={ROOT}/configs/{name}.py", *keys]


def test_a_detector_s_file_predicts_and_is_evaluated(detector, tmp_path, capsys):
    """COCO's names and ids, in predictions, results and metrics; a data set with ids of its own for two of the classes."""
    numbers = (139, 285)
    images = [{"id": number, "file_name": f"{number:012}.png", "height": 30, "width": 40} for number in numbers]
    categories = [{"id": 4, "name": "stop sign"}, {"id": 2, "name": "person"}]
    boxes = [coco_annotation(1, 139, 4, (2, 3, 10, 20)), coco_annotation(2, 285, 2, (5, 6, 30, 20))]
    content = {"images": images, "annotations": boxes, "categories": categories}
    write(tmp_path / "coco" / "annotations" / "instances_val.json", json.dumps(content))
    for image in images:
        write(tmp_path / "coco" / "val" / image["file_name"], encoded(picture(image["id"])))

    out = tmp_path / "out"
    assert predict.command([*flags(detector, DETECTOR), f"--images={tmp_path / 'coco' / 'val'}", f"--output={out}"]) == 0
    assert "resnet18: 100 tensors" in (said := capsys.readouterr().out) and "neck and heads:" in said
    found = json.loads((out / "predictions.json").read_text())
    results = json.loads((out / "coco_results.json").read_text())
    assert [image["image_id"] for image in found] == [*numbers]
    named = [(image["image_id"], COCO_IDS[each["class"]]) for image in found for each in image["detections"]]
    assert {id for _, id in named} == {1, 13, 17} and named == [(row["image_id"], row["category_id"]) for row in results]
    assert (out / "000000000139.png.png").exists()

    judged = tmp_path / "judged"
    data = [f"--data=coco:{tmp_path / 'coco'}", "--split=val", f"--output={judged}"]
    assert evaluate.command([*flags(detector, DETECTOR), *data]) == 0
    (metrics,) = judged.glob("val_of_*[0-9a-f].json")
    about = json.loads(metrics.read_text())
    assert about["weights"] == str(detector) and about["classes"] == [*COCO_IDS] and about["metrics"]["images"] == 2
    assert np.isfinite(about["metrics"]["AP"])
    assert "detections of classes that the data set lacks: bicycle, car," in capsys.readouterr().out
    (written,) = judged.glob("val_of_*_coco_results.json")
    own = {COCO_IDS["stop sign"]: 4, COCO_IDS["person"]: 2}
    kept = [row for row in results if row["category_id"] in own]
    found = json.loads(written.read_text())
    ids = lambda rows: [(row["image_id"], row["category_id"]) for row in rows]
    assert ids(found) == [(image, own[category]) for image, category in ids(kept)]
    np.testing.assert_allclose([row["bbox"] for row in found], [row["bbox"] for row in kept], atol=1e-3)  # two programs


ONE_STAGE = [
    *SMALL, ("model.extra_maps.maps", "((8, 3, 2, 1),)"), ("model.default_boxes.steps", "None"),
    ("model.default_boxes.scales", "(0.3, 0.5, 0.7, 0.9)"), ("model.default_boxes.ratios", "((2.0,), (2.0, 3.0), ())"),
]  # fmt: skip


def test_ssd_s_file_predicts(tmp_path):
    """On VGG-16, with torchvision's names; each default box says that there is a stop sign, and then a cat."""
    config = load_config(f"{ROOT}/configs/ssd300_coco.py", ONE_STAGE)
    layers = [f"head.classification_head.module_list.{i}" for i in range(3)]
    file = tmp_path / "ssd.safetensors"
    file.write_bytes(drawn(config, 90, to_torchvision_detector, layers, {0: 6.0, 13: 8.0, 17: 7.5}))
    write(tmp_path / "images" / "a.png", encoded(picture(0)))
    config = load_config(f"{ROOT}/configs/ssd300_coco.py", [*ONE_STAGE, ("model.pretrained", str(file))])
    said = []
    (found,) = predict.run(None, str(tmp_path / "images"), str(tmp_path / "out"), say=said.append, config=config)
    assert {each["class"] for each in found["detections"]} == {"stop sign", "cat"} and len(found["detections"]) > 10
    scores = np.exp([8.0, 7.5]) / np.exp([8.0, 7.5, 6.0, *[0.0] * 78]).sum()
    assert found["detections"][0]["class"] == "stop sign" and found["detections"][0]["score"] == pytest.approx(
        scores[0], abs=1e-4
    )
    assert found["detections"][-1]["class"] == "cat" and found["detections"][-1]["score"] == pytest.approx(
        scores[1], abs=1e-4
    )
    assert "vgg16_dilated: 30 tensors" in said[0] and "ssd_head/class are the file's rows of 80 classes" in said[0]
    assert {row["category_id"] for row in json.loads((tmp_path / "out" / "coco_results.json").read_text())} == {13, 17}


def test_a_classifier_s_file_has_the_names_of_imagenet(tmp_path):
    name = f"{ROOT}/configs/resnet50_imagenet.py"
    options = [*SMALL, ("model.backbone.dtype", "float32"), ("model.backbone.name", "resnet18")]
    file = tmp_path / "classifier.safetensors"
    file.write_bytes(drawn(load_config(name, options), 1000, to_torchvision, ["fc"], {340: 8.0}))
    write(tmp_path / "images" / "a.png", encoded(picture(0)))
    config = load_config(name, [*options, ("model.pretrained", str(file))])
    (found,) = predict.run(None, str(tmp_path / "images"), str(tmp_path / "out"), say=lambda line: None, config=config)
    assert found["class"] == "zebra" and found["score"] == pytest.approx(np.exp(8) / (np.exp(8) + 999), abs=1e-5)
    assert not (tmp_path / "out" / "coco_results.json").exists()


def opened(file, options, name="faster_rcnn_coco"):
    return from_weights(load_config(f"{ROOT}/configs/{name}.py", [*options, ("model.pretrained", str(file))]))


def test_what_would_be_untrained_is_refused(detector):
    untrained = r"config\.model\.pretrained = None: the network would be untrained; .*--workdir=DIR"
    with pytest.raises(ConfigError, match=untrained):
        opened("None", DETECTOR)
    with pytest.raises(ConfigError, match=r"is a folder, .* opened with --workdir="):
        opened(detector.parent, DETECTOR)
    with pytest.raises(WeightsError, match=r"imagenet: has no weights for (box_head|neck|rpn), .* untrained\. Give the"):
        opened("imagenet", [("data.size", "(64, 64)")], "faster_rcnn_shapes")
    with pytest.raises(WeightsError, match=r"detector\.safetensors: has no weights for mask_head of the network"):
        opened(detector, DETECTOR, "mask_rcnn_coco")
    with pytest.raises(RunError, match="name a folder with --output=DIR"):
        evaluate.command(flags(detector, DETECTOR))
