"""Mask R-CNN under torchvision's drawn weights against torchvision's own outputs, and its weights in and out."""

import numpy as np
import pytest

from cnnvision.errors import WeightsError
from cnnvision.evaluation.pasting import pasted_runs
from cnnvision.heads.mask_head import MaskSettings
from cnnvision.models import faster_rcnn, mask_rcnn
from cnnvision.pretrained.coco_ids import COCO_IDS
from cnnvision.pretrained.detectors import from_torchvision_detector, to_torchvision_detector
from tests.pretrained.detector_golden import (
    ORIGINAL,
    SCALE,
    detected_pairs,
    differences,
    outputs,
    pairs,
    shapes_of,
    state_of,
)

NAME = "maskrcnn_resnet50_fpn"


def loaded(state, model=mask_rcnn, classes=90, names=(), **settings):
    _, params, model_state = shapes_of(model, classes, **settings)
    return from_torchvision_detector(state, params, model_state, "resnet50", "x.pth", names)


def test_each_stage_is_that_of_torchvision():
    theirs, ours, *_ = outputs(NAME)
    assert max(differences(theirs, ours).values()) <= 1e-4, differences(theirs, ours)


def test_end_to_end():
    ran = outputs(NAME)
    assert len(pairs(ran.golden["proposals"], ran.fed.boxes, 0.01)) == 1000
    assert len(pairs(ran.golden["proposals"], ran.proposals.boxes, 0.1)) >= 980
    assert ran.found.valid.all() and len(detected_pairs(ran)) >= 98


def test_masks_of_the_same_boxes_are_those_of_torchvision():
    """Its probabilities are stored in float16, neighbours of which are up to 1/2048 apart; measured: 5e-6 beyond it."""
    ran = outputs(NAME)
    expected = ran.golden["det_mask_top20_probabilities_float16"].astype(np.float32)
    rounding = np.spacing(ran.golden["det_mask_top20_probabilities_float16"]).astype(np.float32) / 2
    beyond = np.abs(ran.masks_of_theirs[:20] - expected) - rounding
    assert beyond.max() <= 1e-4


def pasted(mask, box):
    """bool [240, 320], by way of the run lengths."""
    runs = pasted_runs(mask, box, ORIGINAL)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(ORIGINAL[::-1]).T


def test_pasted_masks_end_to_end():
    """Of our own detections, in the pixels of the picture. Measured: IoU 1, and 4 pixels of 119,702 in the areas of all."""
    ran = outputs(NAME)
    theirs = np.unpackbits(ran.golden["det_mask_top5"], axis=-1).astype(bool)
    ours = {i: pasted(ran.masks[j], (ran.found.boxes * SCALE[None])[j]) for i, j in detected_pairs(ran)}
    overlaps = [np.sum(theirs[i] & ours[i]) / np.sum(theirs[i] | ours[i]) for i in range(5)]
    assert np.mean(overlaps) >= 0.995, overlaps
    areas = np.array([[mask.sum(), ran.golden["det_mask_area"][i]] for i, mask in ours.items()])
    assert len(areas) >= 98 and np.abs(areas[:, 0] - areas[:, 1]).sum() <= 1e-3 * areas[:, 1].sum()


def test_exported_weights_are_those_that_came():
    state = state_of(NAME)
    params, model_state, report = loaded(state)
    assert "left" not in report and "no place" not in report
    exported = to_torchvision_detector(params, model_state, "resnet50")
    assert exported.keys() == state.keys()
    assert all(array.shape == state[key].shape for key, array in exported.items())
    assert all(np.array_equal(array, state[key]) for key, array in exported.items())


def test_the_published_file_has_older_names():
    state = state_of(NAME)
    older = dict(state)
    for i in range(4):
        for leaf in ("weight", "bias"):
            older[f"roi_heads.mask_head.mask_fcn{i + 1}.{leaf}"] = older.pop(f"roi_heads.mask_head.{i}.0.{leaf}")
            for kind in ("inner", "layer"):
                older[f"backbone.fpn.{kind}_blocks.{i}.{leaf}"] = older.pop(f"backbone.fpn.{kind}_blocks.{i}.0.{leaf}")
    for leaf in ("weight", "bias"):
        older[f"rpn.head.conv.{leaf}"] = older.pop(f"rpn.head.conv.0.0.{leaf}")
    params, model_state, report = loaded(older)
    assert "left" not in report and "no place" not in report
    exported = to_torchvision_detector(params, model_state, "resnet50")
    assert exported.keys() == state.keys() and all(np.array_equal(exported[key], state[key]) for key in state)


def test_each_of_coco_s_classes_takes_the_plane_of_its_id():
    state = state_of(NAME)
    names = ["toothbrush", "person", "stop sign"]
    params, _, report = loaded(state, classes=3, names=names)
    rows = [0, *(COCO_IDS[name] for name in names)]
    logits = state["roi_heads.mask_predictor.mask_fcn_logits.weight"][:, :, 0, 0]
    np.testing.assert_array_equal(params["mask_head"]["class"]["kernel"][0, 0], logits[rows].T)
    np.testing.assert_array_equal(params["box_head"]["class"]["bias"], state["roi_heads.box_predictor.cls_score.bias"][rows])
    assert "box_head/class, box_head/box and mask_head/class are the file's rows of 3 classes, by COCO's ids" in report


def test_other_classes_leave_all_layers_of_classes():
    state = state_of(NAME)
    params, _, report = loaded(state, classes=3, names=["person", "drone", "dog"])
    for part, name in (("box_head", "class"), ("box_head", "box"), ("mask_head", "class")):
        assert not np.any(params[part][name]["kernel"])
    assert np.any(params["mask_head"]["up"]["kernel"]) and np.any(params["box_head"]["hidden1"]["kernel"])
    assert report.endswith(
        " box_head/class, box_head/box and mask_head/class were left at their initialisation (the file's are for 90 classes "
        "and the background, this network's for 3)."
    )


def test_from_and_to_a_network_without_masks():
    state = state_of(NAME)
    _, _, report = loaded(state, faster_rcnn)
    assert report.endswith(" This network has no place for the file's mask_head.")
    without = {key: array for key, array in state.items() if "mask" not in key}
    params, _, report = loaded(without, classes=2, names=["dog", "person"])
    assert "box_head/class and box_head/box are the file's rows of 2 classes" in report
    assert report.endswith(" mask_head was left at its initialisation (the file has none).")
    assert not np.any(params["mask_head"]["conv0"]["kernel"])
    np.testing.assert_array_equal(
        params["box_head"]["class"]["bias"], state["roi_heads.box_predictor.cls_score.bias"][[0, 18, 1]]
    )


def test_a_mask_head_of_other_widths_is_refused():
    state = state_of(NAME)
    with pytest.raises(WeightsError, match=r"x\.pth: roi_heads\.mask_head\.1\.0\.\w+ is \(128.*mask_head/conv1/\w+ is"):
        narrow = {**state, "roi_heads.mask_head.1.0.weight": np.zeros((128, 256, 3, 3), np.float32)}
        loaded({**narrow, "roi_heads.mask_head.1.0.bias": np.zeros(128, np.float32)})
    with pytest.raises(WeightsError, match=r"roi_heads\.mask_head\.0\.0\.\w+ is \(256,.*mask_head/conv0/\w+ is \("):
        loaded(state, masks=MaskSettings(channels=(64, 64, 64, 64)))
    del state["roi_heads.mask_predictor.conv5_mask.bias"]
    with pytest.raises(WeightsError, match=r"conv5_mask\.bias is missing, which this network's mask_head/up/bias needs"):
        loaded(state)
