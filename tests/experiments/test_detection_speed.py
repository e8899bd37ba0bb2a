"""The speed of region detectors on one image, with the smallest networks."""

import jax
import numpy as np
import pytest

from cnnvision.pictures.sheets import write_png
from experiments import detection_speed


def test_five_detectors_and_where_their_seconds_go(tmp_path):
    image = str(tmp_path / "noise.png")
    write_png(image, np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    with jax.numpy_dtype_promotion("standard"):
        costs = detection_speed.run(image, 40, 10, chunk=5, rounds=1, smoke=True, say=lambda line: None)
    assert [each.name for each in costs] == ["R-CNN", "Fast R-CNN", "Faster R-CNN", "YOLO", "SSD300"]
    for each in costs:
        assert sum(each.split.values()) == pytest.approx(each.seconds) and each.gflops > 0
    # R-CNN counts as often as its crops go into all proposals; Faster R-CNN makes its own.
    assert [each.times for each in costs] == [4.0, 1.0, 1.0, 1.0, 1.0]
    assert costs[1].proposals == costs[0].proposals > 0 == costs[2].proposals
    table = detection_speed.report(costs).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:7]] == [each.name for each in costs]
    assert " with proposals, " in table[8] and "images a second" in table[0]
    with jax.numpy_dtype_promotion("standard"):
        (pair,) = detection_speed.run(image, rounds=1, smoke=True, say=lambda line: None, only=["yolo"], together=2)
    assert pair.name == "YOLO" and pair.times == 0.5 and pair.gflops == pytest.approx(costs[3].gflops, rel=0.05)
