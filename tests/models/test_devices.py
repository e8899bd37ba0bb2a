"""One device, eight devices, and two processes of four each take the same step, in every model.

In float64, where it can be shown: what is left is rounding. In float32 an activation at rounding distance from ReLU's kink
moves a gradient by up to 1e-3 of its length, and hides a mistake of that size.
"""

import numpy as np

from tests.models.cases import CASES
from tests.processes import distance, finish, free_address, start

PARTS = ("gradient", "state", "metrics", "loss")


def test_one_device_and_eight_and_two_processes_take_the_same_step(tmp_path):
    """The smoothed statistics and the metrics, too."""
    run = ("tests.models.float64_process", "tests.models.gradients", tmp_path)
    address = free_address()
    finish([start(*run, devices=8), *(start(*run, address, 2, i) for i in range(2))], timeout=900)
    far = {}
    for name in CASES:
        one, *others = (np.load(tmp_path / f"{name}_{devices}.npz") for devices in ("one", "all", "processes"))
        for part in PARTS:
            leaves = [key for key in one.files if key.startswith(part)]
            assert all(one[key].dtype == np.float64 for key in leaves)
            for other in others:
                apart = distance([one[key] for key in leaves], [other[key] for key in leaves]) if leaves else 0.0
                if not apart <= 1e-10:
                    far[f"{name}: {part}"] = apart
        assert any(one[key].any() for key in one.files if key.startswith("gradient"))
    assert not far
