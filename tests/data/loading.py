"""What tests of the pipeline and of its worker processes share."""

import time

import jax
import numpy as np

from cnnvision.data.options import DataSettings
from cnnvision.inputs import InputSpec
from cnnvision.settings import read

AUGMENT = {"flip": 0.5, "crop_area": (0.4, 1.5), "rotate": 10.0, "brightness": 0.3, "hue": 0.1}
SPEC = InputSpec(sizes=((32, 32), (48, 40)), target="objects", max_objects=3, mask_side=7)


def options(**changes):
    section = {"batch_size": 6, "eval_batch_size": 6, "augment": AUGMENT, "threads": 0, "cache_mb": 0, **changes}
    return read(DataSettings, section, "config.data")


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
