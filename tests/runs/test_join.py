"""What no run can use is refused before anything is written."""

import json

import pytest
from ml_collections import ConfigDict

from cnnvision.errors import ConfigError, DataError
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import check_config, join
from tests.data.planted import coco_set, write


@pytest.fixture
def config():
    return load_config("classifier_shapes:smoke").unlock()


def refused(config, message):
    with pytest.raises(ConfigError, match=message):
        check_config(config, 1)


def test_a_section_that_nothing_reads(config):
    config.trainig = ConfigDict({"steps": 3})
    refused(config, r"config: there is no 'trainig'\. Did you mean 'training'\?")


@pytest.mark.parametrize("section", ["data", "model", "optimizer", "training"])
def test_a_section_that_is_missing_or_none(config, section):
    whole = config.copy_and_resolve_references()
    del config[section]
    refused(config, rf"config\.{section}: must be a section")
    with whole.ignore_type():
        whole[section] = None
    refused(whole, rf"config\.{section}: must be a section")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": "tile"}, r'config\.data\.resize: "tile" is for semantic segmentation'),
        ({"margin": 5}, r"config\.data\.margin = 5: tiles have one, and only semantic segmentation takes tiles"),
    ],
)
def test_what_is_for_segmentation_alone(config, values, message, tmp_path, few_shapes):
    with config.data.ignore_type():
        config.data.update(values)
    with pytest.raises(ConfigError, match=message):
        join(config, tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_what_is_for_detection_alone(config, tmp_path, few_shapes):
    config.data.augment.iou_crop = 1.0
    with pytest.raises(ConfigError, match=r"config\.data\.augment\.iou_crop = 1\.0: cuts around the boxes"):
        join(config, tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bare", ["train", "val"])
def test_masks_are_looked_for_before_anything_is_trained(bare, tmp_path):
    """An image without objects needs none; the split whose objects have none is named."""
    coco_set(tmp_path / "data")
    file = tmp_path / "data" / "annotations" / f"instances_{bare}2017.json"
    content = json.loads(file.read_text())
    config = load_config("mask_rcnn_shapes:smoke", [("data.source", f"coco:{tmp_path / 'data'}")])
    write(file, json.dumps({**content, "annotations": [{**each, "segmentation": []} for each in content["annotations"]]}))
    with pytest.raises(DataError, match=rf"{bare}.*: its objects have no masks.* Give each object of coco:DIR a segm"):
        join(config, tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()
    if bare == "val":
        write(file, json.dumps({**content, "annotations": []}))
        join(config, tmp_path / "run", say=lambda line: None)
