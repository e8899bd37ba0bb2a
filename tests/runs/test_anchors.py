"""Anchors fitted to boxes, and the share of objects that they reach: by hand."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.runs.anchors import fit, reach
from cnnvision.runs.configuration import load_config
from cnnvision.task import Matched
from cnnvision.types import Batch, ObjectTarget
from experiments import anchors
from tests.conftest import ROOT


def boxes(*sides):
    """Boxes of (height, width) at (3, 5)."""
    return np.array([[3, 5, 3 + width, 5 + height] for height, width in sides], float)


def test_sizes_and_ratios_of_boxes_in_groups():
    """Two sizes, 10 and 40, with ratios 1 and 4 of each: 10 = √(20 · 5), 40 = √(80 · 20)."""
    found = fit(boxes((10, 10), (20, 5), (40, 40), (80, 20), (40, 40)), maps=2, ratios=2)
    np.testing.assert_allclose(found[0], [10, 40])
    np.testing.assert_allclose(found[1], [1, 4])


def test_a_centre_is_the_geometric_mean_of_its_boxes():
    sizes, ratios = fit(boxes((8, 8), (18, 18)), maps=1, ratios=3)
    np.testing.assert_allclose(sizes, [12])
    np.testing.assert_allclose(ratios, [1])  # no more than there are


def test_the_share_of_objects_with_an_anchor():
    """Anchors (0, 0, 10, 10) and (20, 20, 30, 30): IoUs 1, 0.5, 25/100 and, of a crowd and of padding, none."""
    target = ObjectTarget(
        boxes=jnp.array([[[0.0, 0, 10, 10], [20, 20, 30, 25], [0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 9, 9]]]),
        labels=jnp.zeros((1, 5), jnp.int32),
        valid=jnp.array([[True, True, True, True, False]]),
        crowd=jnp.array([[False, False, False, True, False]]),
    )
    of_image = jnp.zeros((1, 8, 8, 3), jnp.uint8), jnp.zeros((1, 2), jnp.int32), jnp.ones(1, bool), jnp.zeros(1, jnp.int32)
    batch = Batch(*of_image, transform=jnp.zeros((1, 2, 3)), core=jnp.zeros((1, 4), jnp.int32), target=target)
    two = jnp.array([[[0.0, 0, 10, 10], [20, 20, 30, 30]]])
    matched = Matched(two, jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 2), bool))
    task = SimpleNamespace(
        init=lambda key, batch: ({"w": jnp.ones(3)}, {}), matches=lambda params, state, batch: {"anchors": matched}
    )
    found = reach(task, [batch])
    assert found.objects == 3
    assert found.mean == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert found.shares == pytest.approx((2 / 3, 1 / 3))


def test_the_command_gives_keys_that_the_config_takes(few_shapes, capsys):
    argument = f"{ROOT}/configs/faster_rcnn_shapes.py:smoke"
    assert anchors.command([f"--config={argument}", "--images=20"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-5].startswith("| anchors ") and said[-3].startswith("| the config's | 12 24 48 ")
    keys = [part.strip("'").replace("='", "=") for part in said[-1].split("--config.")[1:]]
    overrides = [tuple(part.strip().strip("'").split("=", 1)) for part in keys]
    config = load_config(argument, overrides)
    assert len(config.model.anchors.sizes) == 3 and len(config.model.anchors.ratios) == 3
    assert config.model.anchors.sizes != ((12,), (24,), (48,))


def test_a_config_without_anchors_is_said():
    with pytest.raises(ConfigError, match=r"config.model.anchors: .*yolo_shapes.py has none"):
        anchors.run(f"{ROOT}/configs/yolo_shapes.py")
