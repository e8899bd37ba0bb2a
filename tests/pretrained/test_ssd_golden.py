"""SSD300 under torchvision's drawn weights against torchvision's own outputs and loss, and its weights in and out."""

import functools
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cnnvision.errors import WeightsError
from cnnvision.models import make_task, ssd
from cnnvision.pretrained.class_names import class_names
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detector_names import body_of
from cnnvision.pretrained.detectors import from_torchvision_detector, to_torchvision_detector
from cnnvision.pretrained.loading import from_torchvision
from cnnvision.pretrained.start import load_pretrained
from cnnvision.runs.defaults import section
from cnnvision.runs.join import empty_batch
from cnnvision.task import DataInfo
from cnnvision.types import ObjectTarget
from tests.pretrained.detector_golden import differences, load_golden, pairs
from tests.pretrained.weight_writers import safetensors_file
from tests.reference import ssd as reference
from tests.reference.torch_weights import GOLDENS

NAME, BACKBONE = "ssd300_vgg16", "vgg16_dilated"
SIZE, ORIGINAL = (300, 300), (240, 320)
SETTINGS = ssd.Settings(backbone={"name": BACKBONE, "norm": "none", "frozen_stages": 0, "dtype": "float32"})
LOSS = json.loads((GOLDENS / "ssd300_loss.json").read_text())


def task_of(classes):
    data = {"size": SIZE, "more_sizes": (), "resize": "stretch", "margin": None}
    return make_task(ConfigDict({"model": section(SETTINGS), "data": data}), DataInfo(tuple(map(str, range(classes)))))


@functools.cache
def zeros(classes=90):
    """(params, model_state) of zeros."""
    task = task_of(classes)
    shapes = jax.eval_shape(task.init, jax.random.key(0), empty_batch(task, 1))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def loaded(state, classes=90, names=()):
    return from_torchvision_detector(state, *zeros(classes), BACKBONE, "x.pth", names)


@functools.cache
def weights():
    return loaded(load_golden(NAME)[0])[0]


@functools.cache
def outputs():
    """(stages of torchvision, ours, detections of ours)."""
    golden = load_golden(NAME)[1]
    network = ssd.make_network(SETTINGS, 90)
    mean = np.float32(network.backbone.mean)
    image = jax.image.resize(jnp.asarray(golden["image"], jnp.float32), (*SIZE, 3), "linear", antialias=False)
    image = (image - jnp.asarray(mean)[None, None])[None]
    boxes = ssd.boxes_of(network, SETTINGS.default_boxes, SIZE)

    @jax.jit
    def run(params, image):
        apply = functools.partial(network.apply, {"params": params}, image, jnp.ones(1, bool), False)
        (logits, deltas), maps = apply(), apply(method="features")
        of_image = jnp.asarray(boxes), jnp.ones(len(boxes), bool), jnp.array(SIZE)
        return maps, logits[0], deltas[0], ssd.ssd_detections(logits[0], deltas[0], *of_image, SETTINGS.detections)

    with jax.default_matmul_precision("highest"):
        maps, logits, deltas, found = jax.device_get(run(weights(), image))
    ours = {"input": np.asarray(image)[0, ::4, ::4], "logits": logits[::7], "deltas": deltas[::7], "boxes": boxes[::7]}
    theirs = {
        "input": golden["network_input_4x4"].transpose(1, 2, 0),
        "logits": golden["head_cls_logits_every7th_row"],
        "deltas": golden["head_bbox_regression_every7th_row"],
        "boxes": golden["anchors_every7th"],
    }
    for i, each in enumerate(maps):
        ours[f"map {i}"] = each[0, :, :, ::16]
        theirs[f"map {i}"] = golden[f"feature_{i}_every16th_channel"].transpose(1, 2, 0)
    return theirs, ours, found


def test_each_stage_is_that_of_torchvision():
    theirs, ours, _ = outputs()
    assert len(ours) == 10 and max(differences(theirs, ours).values()) <= 1e-4, differences(theirs, ours)


def test_the_default_boxes_are_those_of_torchvision_bit_for_bit():
    boxes = ssd.boxes_of(ssd.make_network(SETTINGS, 1), SETTINGS.default_boxes, SIZE)
    assert boxes.shape == (8732, 4) and hashlib.sha256(boxes.tobytes()).hexdigest() == LOSS["default_boxes_sha256"]


def test_end_to_end():
    """Classes, boxes within .1 pixels of the picture, and scores within .001."""
    golden, found = load_golden(NAME)[1], outputs()[-1]
    scale = np.array([ORIGINAL[1], ORIGINAL[0]] * 2, np.float32)[None] / np.float32(300)
    rows = lambda boxes, scores, labels: np.concatenate([boxes, 100 * scores[:, None], 1e3 * labels[:, None]], axis=1)
    expected = rows(golden["det_boxes"], golden["det_scores"], golden["det_labels"] - 1)
    assert found.valid.all() and len(expected) == 200
    assert len(pairs(expected, rows(found.boxes * scale, found.scores, found.labels), 0.1)) >= 196


def target_of(*images):
    """The objects of images of `LOSS`, by number; None for none."""
    boxes, labels, valid = np.zeros((len(images), 6, 4), np.float32), np.zeros((len(images), 6), np.int32), []
    for row, number in enumerate(images):
        objects = [] if number is None else LOSS["boxes"][number]
        valid.append(np.arange(6) < len(objects))
        boxes[row, valid[row]] = np.reshape(objects, (-1, 4))
        labels[row, valid[row]] = [] if number is None else np.array(LOSS["labels"][number]) - 1
    return ObjectTarget(boxes, labels, np.stack(valid), np.zeros(labels.shape, bool))


def test_the_loss_of_drawn_outputs_is_that_of_torchvision_and_of_a_slow_version():
    """Three images: six objects, two of which have the same best default box; two; none."""
    rng = np.random.Generator(np.random.Philox(key=LOSS["seed"]))
    logits, deltas = rng.standard_normal((3, 8732, 91), np.float32), rng.standard_normal((3, 8732, 4), np.float32)
    boxes = ssd.boxes_of(ssd.make_network(SETTINGS, 1), SETTINGS.default_boxes, SIZE)
    every = jnp.ones(len(boxes), bool)
    of_image = lambda logits, deltas, target: ssd.ssd_terms(
        logits, deltas, jnp.asarray(boxes), every, target, SETTINGS.matching
    )
    terms, _ = jax.jit(jax.vmap(of_image))(logits, deltas, target_of(0, 1, 2))
    assert terms["class"].count.tolist() == terms["box"].count.tolist() == LOSS["matched"]
    ours = [float(terms[name].over(jnp.ones(3, bool)).value()) for name in ("class", "box")]
    theirs = [LOSS["of_drawn_outputs"][name] for name in ("classification", "bbox_regression")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    images = list(zip(LOSS["boxes"], LOSS["labels"], strict=True))
    np.testing.assert_allclose(reference.loss(logits, deltas, boxes.tolist(), images), theirs, rtol=1e-6)


def test_the_loss_of_the_network_is_that_of_torchvision():
    """On a batch with an image without objects, which adds nothing."""
    task = task_of(90)
    image = np.tile(load_golden(NAME)[1]["image"], (2, 1, 1))[:300, :300]
    batch = empty_batch(task, 2).replace(
        image=np.stack([image, image[:, ::-1]]),
        size=np.full((2, 2), 300, np.int32),
        valid=np.ones(2, bool),
        target=target_of(0, None),
    )
    with jax.default_matmul_precision("highest"):
        run = jax.jit(lambda params, batch: task.loss(params, {}, batch, jax.random.key(0), True))
        loss, aux = run(weights(), batch)
    ours = [float(aux.metrics[f"loss/{name}"].value()) for name in ("class", "box")]
    theirs = [LOSS["of_the_network"][name] for name in ("classification", "bbox_regression")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert float(loss.value()) == pytest.approx(sum(theirs), rel=1e-5)


def test_exported_weights_are_those_that_came():
    state = load_golden(NAME)[0]
    params, model_state, report = loaded(state)
    assert "left" not in report and "no place" not in report and len(state) == 71
    exported = to_torchvision_detector(params, model_state, BACKBONE)
    assert exported.keys() == state.keys()
    assert all(array.shape == state[key].shape for key, array in exported.items())
    assert all(np.array_equal(array, state[key]) for key, array in exported.items())
    assert sum(array.size for array in state.values()) == 35_641_826


def test_each_of_coco_s_classes_takes_the_rows_of_its_id():
    """Of each default box of a position; boxes are of no class, and all taken."""
    state = load_golden(NAME)[0]
    names = ["toothbrush", "person", "stop sign"]
    params, _, report = loaded(state, 3, names)
    rows = [0, *(COCO_IDS[name] for name in names)]
    for i, boxes in enumerate((4, 6, 6, 6, 4, 4)):
        of_file = state[f"head.classification_head.module_list.{i}.bias"].reshape(boxes, 91)
        np.testing.assert_array_equal(params["ssd_head"]["class"][f"map{i}"]["bias"].reshape(boxes, 4), of_file[:, rows])
        of_file = state[f"head.regression_head.module_list.{i}.bias"]
        np.testing.assert_array_equal(params["ssd_head"]["box"][f"map{i}"]["bias"], of_file)
    assert "ssd_head/class are the file's rows of 3 classes, by COCO's ids" in report and "left" not in report
    assert class_names(state, BACKBONE, known=True) == tuple(COCO_IDS)


def test_other_classes_leave_the_layers_of_classes():
    params, _, report = loaded(load_golden(NAME)[0], 3, ["person", "drone", "dog"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params["ssd_head"]["class"]))
    assert all(np.any(layer["kernel"]) for layer in params["ssd_head"]["box"].values())
    assert report.endswith(
        " ssd_head/class were left at their initialisation (the file's are for 90 classes and the background, this "
        "network's for 3)."
    )


def test_what_does_not_fit_is_said():
    state = load_golden(NAME)[0]
    with pytest.raises(WeightsError, match=r"x\.pth: backbone\.extra\.3\.2\.\w+ is missing, .* extra_maps/map2/conv2/"):
        loaded({key: array for key, array in state.items() if "extra.3.2" not in key})
    with pytest.raises(WeightsError, match=r"regression_head\.module_list\.0\.\w+ is \(24,.*ssd_head/box/map0/\w+ is"):
        wide = {
            key: np.concatenate([array, array[:8]])
            for key, array in state.items()
            if "regression_head" in key and ".0." in key
        }
        loaded({**state, **wide})


def test_the_backbone_from_a_classifier_s_file(tmp_path):
    """torchvision's VGG-16 has fc6 and fc7 as other layers: these stay, which is said, with how images are normalised."""
    state = load_golden("vgg16")[0]
    file = tmp_path / "vgg16.safetensors"
    file.write_bytes(safetensors_file({key: array[:2] if "classifier" in key else array for key, array in state.items()}))
    params, model_state = zeros()
    taken, _, report = load_pretrained(str(file), BACKBONE, params, model_state, classes=list(COCO_IDS))
    np.testing.assert_array_equal(taken["backbone"]["conv5"]["conv5_3"]["bias"], state["features.28.bias"])
    assert taken["backbone"]["fc"] == params["backbone"]["fc"] and taken["ssd_head"] == params["ssd_head"]
    assert report == (
        f"vgg16_dilated: 26 tensors from {file}. vgg16_dilated: fc6 and fc7 were left at their initialisation (the file has "
        "none). Images are their pixels minus the mean here, as VGG16_Weights.IMAGENET1K_FEATURES were trained; "
        "torchvision's other weights of VGG-16 were not."
    )


def test_the_backbone_alone_from_a_detector_s_file():
    state = load_golden(NAME)[0]
    only = {"backbone": zeros()[0]["backbone"]}
    taken, _, report = from_torchvision(body_of(state), only, {}, BACKBONE)
    np.testing.assert_array_equal(taken["backbone"]["fc"]["fc6"]["bias"], state["backbone.extra.0.7.1.bias"])
    assert report == "vgg16_dilated: 30 tensors from the state dict."
    with pytest.raises(WeightsError, match="these are vgg16_dilated weights; the config says vgg16"):
        vgg = {"backbone": {name: tree for name, tree in only["backbone"].items() if name != "fc"}}
        from_torchvision(body_of(state), vgg, {}, "vgg16")
