"""data/options.py: right values arrive, wrong ones are named."""

import pytest
from ml_collections import ConfigDict

from cnnvision.data.options import AugmentOptions, DataOptions
from cnnvision.errors import ConfigError


@pytest.mark.parametrize("make", [dict, ConfigDict])
def test_values_arrive(make):
    options = DataOptions.read(make({"batch_size": 7, "augment": {"flip": 0.5, "crop_area": [0.3, 1], "fill": [1, 2, 3]}}))
    assert options.batch_size == 7
    assert options.augment == AugmentOptions(flip=0.5, crop_area=(0.3, 1.0), fill=(1, 2, 3))
    assert DataOptions.read(options) is options


def test_nothing_given():
    assert DataOptions.read(None) == DataOptions.read({}) == DataOptions()
    assert DataOptions.read({"augment": None}).augment == AugmentOptions()


def test_keys_that_others_read_pass():
    DataOptions.read({"source": "shapes", "size": (32, 32), "resize": "stretch", "train_split": "train"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batchsize": 3}, r"config.data.batchsize: there is no such option. Did you mean 'batch_size'"),
        ({"augment": {"flipp": 1}}, r"config.data.augment.flipp: .* Did you mean 'flip'"),
        ({"augment": {"flip": 1.5}}, r"config.data.augment.flip = 1.5: must be a number in \[0, 1\]"),
        ({"augment": {"flip": True}}, r"flip = True: must be a number"),
        ({"augment": {"hue": 0.6}}, r"hue = 0.6: must be a number in \[0, 0.5\]"),
        ({"augment": {"rotate": "ten"}}, r"rotate = 'ten'"),
        ({"augment": {"brightness": float("nan")}}, r"brightness = nan"),
        ({"augment": {"crop_area": (0.0, 1.0)}}, r"crop_area = \(0.0, 1.0\): must hold 0 < least <= most <= 16"),
        ({"augment": {"crop_area": (1.0, 0.5)}}, r"crop_area = \(1.0, 0.5\)"),
        ({"augment": {"crop_aspect": 0.5}}, r"crop_aspect = 0.5: must be two numbers"),
        ({"augment": {"fill": (0, 0, 256)}}, r"fill = \(0, 0, 256\): must be three integers"),
        ({"augment": 3}, r"config.data.augment = 3: must be a mapping"),
        ({"batch_size": 0}, r"config.data.batch_size = 0: must be an integer in 1 …"),
        ({"eval_batch_size": 2.0}, r"eval_batch_size = 2.0: must be an integer"),
        ({"workers": -1}, r"workers = -1"),
        ({"prefetch": 0}, r"prefetch = 0"),
        ({"threads": True}, r"threads = True"),
        ({"cache_mb": "1GB"}, r"cache_mb = '1GB'"),
    ],
)
def test_wrong_values_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        DataOptions.read(given)
