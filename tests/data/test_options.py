"""data/options.py: right values arrive, wrong ones are named."""

import pytest
from ml_collections import ConfigDict

from cnnvision.data.options import AugmentSettings, DataSettings
from cnnvision.errors import ConfigError
from cnnvision.settings import read


def read_data(section):
    return read(DataSettings, section, "config.data")


@pytest.mark.parametrize("make", [dict, ConfigDict])
def test_values_arrive(make):
    options = read_data(make({"batch_size": 7, "augment": {"flip": 0.5, "crop_area": [0.3, 1], "fill": [1, 2, 3]}}))
    assert options.batch_size == 7
    assert options.augment == AugmentSettings(flip=0.5, crop_area=(0.3, 1.0), fill=(1, 2, 3))
    assert read_data(options) is options


def test_nothing_given():
    assert read_data({}) == DataSettings()
    assert read_data({"augment": {}}).augment == AugmentSettings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batchsize": 3}, r"config.data.batchsize: there is no such key. Did you mean 'batch_size'"),
        ({"augment": {"flipp": 1}}, r"config.data.augment.flipp: .* Did you mean 'flip'"),
        ({"augment": {"flip": 1.5}}, r"config.data.augment.flip = 1.5: must be a number in 0 … 1"),
        ({"augment": {"flip": True}}, r"flip = True: must be a number"),
        ({"augment": {"hue": 0.6}}, r"hue = 0.6: must be a number in 0 … 0.5"),
        ({"augment": {"rotate": "ten"}}, r"rotate = 'ten'"),
        ({"augment": {"brightness": float("nan")}}, r"brightness = nan"),
        ({"augment": {"crop_area": (0.0, 1.0)}}, r"crop_area = 0.0: must be a number in 1e-06 … 16"),
        ({"augment": {"crop_area": (1.0, 0.5)}}, r"config.data.augment.crop_area = \(1.0, 0.5\): must be \(least, most\)"),
        ({"augment": {"zoom_out": (0.5, 4.0)}}, r"zoom_out = 0.5: must be a number in 1 … 16"),
        ({"augment": {"zoom_out": (4.0, 1.0)}}, r"config.data.augment.zoom_out = \(4.0, 1.0\): must be \(least, most\)"),
        (
            {"augment": {"zoom_out": (1, 4), "crop_area": (0.5, 2)}},
            r"zoom_out = \(1.0, 4.0\): crop_area = .* zooms out, too",
        ),
        ({"augment": {"iou_crop": 1.5}}, r"iou_crop = 1.5: must be a number in 0 … 1"),
        (
            {"augment": {"iou_crop": 1, "crop_area": (0.5, 1)}},
            r"iou_crop = 1.0: .* so does crop_area = \(0.5, 1.0\); take one",
        ),
        ({"augment": {"iou_crop": 1, "crop_aspect": (1, 2)}}, r"iou_crop = 1.0: .* so does crop_aspect = \(1.0, 2.0\)"),
        ({"augment": {"iou_crop": 1, "translate": 0.1}}, r"iou_crop = 1.0: .* so does translate = 0.1"),
        ({"augment": {"crop_aspect": 0.5}}, r"crop_aspect = 0.5: must be a tuple"),
        ({"augment": {"fill": (0, 0, 256)}}, r"fill = 256: must be a whole number in 0 … 255"),
        ({"augment": 3}, r"config.data.augment = 3: must be a section with keys flip, "),
        ({"batch_size": 0}, r"config.data.batch_size = 0: must be a whole number in 1 … 1,048,576"),
        ({"eval_batch_size": 2.0}, r"eval_batch_size = 2.0: must be a whole number"),
        ({"workers": -1}, r"workers = -1"),
        ({"prefetch": 0}, r"prefetch = 0"),
        ({"threads": True}, r"threads = True"),
        ({"cache_mb": "1GB"}, r"cache_mb = '1GB'"),
        ({"size": (64.0, 64.0)}, r"config.data.size = 64.0: must be a whole number"),
        ({"size": (64,)}, r"config.data.size = \(64,\): must be a tuple of 2"),
        ({"more_sizes": (64, 96)}, r"config.data.more_sizes = 64: must be a tuple"),
        ({"eval_examples": 0}, r"config.data.eval_examples = 0: must be a whole number in 1 … "),
        ({"margin": -1}, r"config.data.margin = -1: must be a whole number in 0 … "),
        ({"resize": "stretched"}, r"config.data.resize: there is no 'stretched'. Did you mean 'stretch'"),
    ],
)
def test_wrong_values_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        read_data(given)
