"""The benchmark's programs run; what they take is not asserted."""

import jax

from experiments import benchmark


def test_both_passes_run():
    with jax.numpy_dtype_promotion("standard"):
        rows = benchmark.run("small", 1, 32, "float32", 1, None)
    assert [row["pass"] for row in rows] == list(benchmark.PASSES)
    assert all(row["ms"] > 0 and row["GFLOP/s"] > 0 for row in rows)


def test_the_detector_is_that_of_torchvision_s_recipe():
    inputs = benchmark.make_task_of(benchmark.DETECTOR, 64, "float32").inputs
    assert inputs.sizes == ((64, 64),) and (inputs.target, inputs.max_objects) == ("objects", benchmark.OBJECTS)


def test_objects_lie_within_the_image_and_have_area():
    boxes = benchmark.boxes_of(3, 64)
    assert boxes.shape == (3, benchmark.OBJECTS, 4) and (boxes >= 0).all() and (boxes <= 64).all()
    assert (boxes[..., 2:] - boxes[..., :2] >= 0.99).all()
