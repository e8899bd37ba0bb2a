"""Faster R-CNN under torchvision's drawn weights against torchvision's own outputs, stage by stage, and the way back."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cnnvision.errors import WeightsError
from cnnvision.heads.box_head import RegionSettings
from cnnvision.models import fast_rcnn, faster_rcnn, make_task
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detectors import body_of, from_torchvision_detector, to_torchvision_detector
from cnnvision.pretrained.start import load_pretrained
from cnnvision.runs.defaults import section
from cnnvision.task import DataInfo
from tests.pretrained.detector_golden import BACKBONE, detected_pairs, differences, outputs, pairs, shapes_of, state_of
from tests.pretrained.networks import shapes
from tests.pretrained.weight_writers import safetensors_file

NAME = "fasterrcnn_resnet50_fpn"


def test_each_stage_is_that_of_torchvision():
    theirs, ours, *_ = outputs(NAME)
    assert max(differences(theirs, ours).values()) <= 1e-4, differences(theirs, ours)


def test_the_same_answers_of_the_rpn_give_the_same_proposals():
    golden, fed = outputs(NAME).golden, outputs(NAME).fed
    assert fed.valid.all() and len(golden["proposals"]) == 1000
    assert len(pairs(golden["proposals"], fed.boxes, 0.01)) == 1000


def test_end_to_end():
    ran = outputs(NAME)
    assert len(pairs(ran.golden["proposals"], ran.proposals.boxes, 0.1)) >= 980
    assert ran.found.valid.all() and len(detected_pairs(ran)) >= 98


def test_exported_weights_are_those_that_came():
    state = state_of(NAME)
    _, params, model_state = shapes_of()
    params, model_state, report = from_torchvision_detector(state, params, model_state, "resnet50")
    assert "left" not in report
    exported = to_torchvision_detector(params, model_state, "resnet50")
    assert exported.keys() == state.keys()
    assert all(np.array_equal(array, state[key]) for key, array in exported.items())
    assert all(array.shape == state[key].shape for key, array in exported.items())


def test_files_of_older_versions_and_other_classes():
    state = state_of(NAME)
    older = {key.replace("conv.0.0", "conv").replace(".0.weight", ".weight").replace(".0.bias", ".bias")
             if ".fpn." in key or "rpn.head.conv" in key else key: array for key, array in state.items()}  # fmt: skip
    assert "backbone.fpn.inner_blocks.0.weight" in older and "rpn.head.conv.weight" in older
    _, params, model_state = shapes_of(classes=3)
    loaded, _, report = from_torchvision_detector(older, params, model_state, "resnet50", source="old.pth")
    assert (
        "box_head/class and box_head/box were left" in report
        and "for 90 classes" in report
        and "this network's for 3" in report
    )
    assert not loaded["box_head"]["class"]["kernel"].any() and loaded["box_head"]["hidden0"]["kernel"].any()
    np.testing.assert_array_equal(loaded["neck"]["lateral8"]["bias"], state["backbone.fpn.inner_blocks.1.0.bias"])


def test_each_of_coco_s_classes_takes_the_rows_of_its_id(tmp_path):
    """By name, in any order, some or all of them: what the file says of these classes is what this network says."""
    state = state_of(NAME)
    file = tmp_path / "detector.safetensors"
    file.write_bytes(safetensors_file({key: array for key, array in state.items() if array.dtype == np.float32}))
    features = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 7, 7, 256), np.float32))
    outputs = lambda network, params: network.box_head.apply({"params": params["box_head"]}, features, False)

    def started(model, classes):
        network, params, model_state = shapes_of(classes=len(classes))
        config = section(model.Settings(backbone=BACKBONE, pretrained=str(file)))
        params = {key: tree for key, tree in params.items() if model is faster_rcnn or key != "rpn"}
        data = {"size": (64, 64), "more_sizes": (), "resize": "stretch", "margin": None}
        task = make_task(ConfigDict({"model": config, "data": data}), DataInfo(tuple(classes)))
        params, _, report = task.warm_start(params, model_state)
        return outputs(network, params), report

    network, params, model_state = shapes_of()
    params, _, report = from_torchvision_detector(state, params, model_state, "resnet50", classes=["?"] * 90)
    every, moved = outputs(network, params)
    assert every.shape == (1, 5, 91) and moved.shape == (1, 5, 91, 4) and "COCO" not in report
    for model, classes in ((faster_rcnn, list(COCO_IDS)), (fast_rcnn, ["toothbrush", "person", "stop sign"])):
        (logits, deltas), report = started(model, classes)
        rows = np.array([0, *(COCO_IDS[of] for of in classes)])
        np.testing.assert_allclose(logits, every[..., rows], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(deltas, moved[..., rows, :], rtol=1e-4, atol=1e-4)
        assert f"box_head/class and box_head/box are the file's rows of {len(classes)} classes, by COCO's ids" in report
        assert "left" not in report
    _, params, model_state = shapes_of(classes=2)
    _, _, report = from_torchvision_detector(state, params, model_state, "resnet50", classes=["person", "drone"])
    assert "box_head/class and box_head/box were left" in report and "COCO" not in report


def test_the_ids_of_coco(shared_data):
    (file,) = (shared_data / "coco128" / "annotations").glob("instances_val*.json")
    categories = json.loads(file.read_text())["categories"]
    assert {category["name"]: category["id"] for category in categories} == COCO_IDS


def test_what_does_not_fit_is_said():
    state = state_of(NAME)
    _, params, model_state = shapes_of(regions=RegionSettings(hidden=(512, 512)))
    with pytest.raises(WeightsError, match=r"x\.pth: roi_heads\.box_head\.fc6\.(weight|bias) is \(1024,.*hidden0"):
        from_torchvision_detector(state, params, model_state, "resnet50", source="x.pth")
    _, params, model_state = shapes_of()
    without = {key: array for key, array in state.items() if "cls_logits" not in key}
    with pytest.raises(WeightsError, match=r"rpn\.head\.cls_logits\.(weight|bias) is missing"):
        from_torchvision_detector(without, params, model_state, "resnet50")


def test_other_networks_take_what_is_theirs_of_a_detector_s_file(tmp_path):
    """A classifier the backbone, Fast R-CNN all but the region proposal network."""
    state = state_of(NAME)
    file = tmp_path / "detector.safetensors"
    file.write_bytes(safetensors_file({key: array for key, array in state.items() if array.dtype == np.float32}))
    loaded, _, report = load_pretrained(str(file), "resnet50", *shapes("resnet50"))
    np.testing.assert_array_equal(
        loaded["backbone"]["stem"]["conv"]["kernel"], state["backbone.body.conv1.weight"].transpose(2, 3, 1, 0)
    )
    assert "class was left at its initialisation" in report
    _, params, model_state = shapes_of()
    del params["rpn"]
    loaded, _, report = load_pretrained(str(file), "resnet50", params, model_state, classes=())
    np.testing.assert_array_equal(loaded["box_head"]["class"]["bias"], state["roi_heads.box_predictor.cls_score.bias"])
    assert "rpn" not in loaded and "left" not in report and report.endswith("no place for the file's rpn.")


def test_the_report_says_which_epsilon_frozen_norms_run_with(tmp_path):
    """Of a detector's file, and where it is not that of the published detectors."""
    file = tmp_path / "detector.safetensors"
    state = {key: array for key, array in state_of(NAME).items() if array.dtype == np.float32}
    file.write_bytes(safetensors_file(state))
    for options, said in (({}, True), ({"norm_epsilon": 0.0}, False), ({"norm": "batch"}, False)):
        _, params, model_state = shapes_of()
        model = section(faster_rcnn.Settings(backbone={**BACKBONE, **options}, pretrained=str(file)))
        data = {"size": (64, 64), "more_sizes": (), "resize": "stretch", "margin": None}
        task = make_task(ConfigDict({"model": model, "data": data}), DataInfo(tuple(map(str, range(90)))))
        _, _, report = task.warm_start(params, model_state)
        assert ("run with epsilon 1e-05 here" in report) == ("epsilon" in report) == said


def test_a_one_stage_detector_takes_backbone_and_pyramid(tmp_path):
    """Its pyramid begins at stride 8 and has a layer that the file's has not; its head is like none of the file's."""
    state = state_of(NAME)
    file = tmp_path / "detector.safetensors"
    file.write_bytes(safetensors_file({key: array for key, array in state.items() if array.dtype == np.float32}))
    _, two_stages, model_state = shapes_of()
    layer = two_stages["neck"]["output32"]
    neck = {name: tree for name, tree in two_stages["neck"].items() if not name.endswith("t4") and name != "lateral4"}
    params = {"backbone": two_stages["backbone"], "neck": {**neck, "coarser64": layer}, "head": {"class": {"conv0": layer}}}
    loaded, _, report = load_pretrained(str(file), "resnet50", params, model_state, classes=list(COCO_IDS))
    for ours, theirs in (("lateral8", "inner_blocks.1.0"), ("output32", "layer_blocks.3.0")):
        np.testing.assert_array_equal(loaded["neck"][ours]["bias"], state[f"backbone.fpn.{theirs}.bias"])
    assert loaded["backbone"]["stem"]["conv"]["kernel"].any()
    assert loaded["neck"]["coarser64"] == layer and loaded["head"] == params["head"]
    assert report.endswith(
        " neck and heads: 12 tensors. This network has no place for the file's backbone.fpn.inner_blocks.0, "
        "backbone.fpn.layer_blocks.0, box_head and rpn. head was left at its initialisation (the file has none). "
        "neck/coarser64 was left at its initialisation (the file has none)."
    )
    file.write_bytes(safetensors_file({key: array for key, array in body_of(state).items() if array.dtype == np.float32}))
    loaded, _, report = load_pretrained(str(file), "resnet50", params, model_state, classes=list(COCO_IDS))
    assert loaded["backbone"]["stem"]["conv"]["kernel"].any() and loaded["neck"] == params["neck"]
    assert report == f"resnet50: 265 tensors from {file}."
