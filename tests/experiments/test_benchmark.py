"""The benchmark's programs run; what they take is not asserted."""

import jax
import pytest

from experiments import benchmark


def test_both_passes_run():
    with jax.numpy_dtype_promotion("standard"):
        rows = benchmark.run("small", 1, (32, 32), "float32", 1, None)
    assert [row["pass"] for row in rows] == list(benchmark.PASSES)
    assert all(row["ms"] > 0 and row["GFLOP/s"] > 0 for row in rows)


@pytest.mark.parametrize("network", benchmark.DETECTORS)
def test_detectors_are_those_of_torchvision_s_recipe(network):
    size = (300, 300) if network.startswith("ssd") else (64, 96)
    inputs = benchmark.make_task_of(network, size, "float32").inputs
    assert inputs.sizes == (size,) and (inputs.target, inputs.max_objects) == ("objects", benchmark.OBJECTS)
    assert inputs.mask_side == (112 if network.startswith("maskrcnn") else 0)


def test_objects_lie_within_the_image_and_have_area():
    boxes = benchmark.boxes_of(3, (64, 96))
    assert boxes.shape == (3, benchmark.OBJECTS, 4) and (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all()
    assert (boxes[..., 2:] - boxes[..., :2] >= 0.99).all()
