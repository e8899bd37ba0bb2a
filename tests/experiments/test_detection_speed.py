"""The speed of region detectors on one image, with the smallest networks."""

import jax
import numpy as np
import pytest

from cnnvision.visualize import write_png
from experiments import detection_speed


def test_three_detectors_and_where_their_seconds_go(tmp_path):
    image = str(tmp_path / "noise.png")
    write_png(image, np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    with jax.numpy_dtype_promotion("standard"):
        small, large = (detection_speed.run(image, proposals, 10, 1, True, lambda line: None) for proposals in (10, 40))
    assert [each.name for each in large] == ["R-CNN", "Fast R-CNN", "Faster R-CNN"]
    for each in large:
        assert sum(each.split.values()) == pytest.approx(each.seconds) and each.gflops > 0
    # R-CNN counts as often as its crops go into all proposals; Faster R-CNN makes its own.
    assert large[0].gflops == pytest.approx(4 * small[0].gflops)
    assert large[1].proposals == large[0].proposals > 0 == large[2].proposals
    table = detection_speed.report(large).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:5]] == [each.name for each in large]
    assert "times as fast with proposals" in table[6]
