"""runs/devices.py: an accelerator that JAX does not see is said."""

import pytest

from cnnvision.runs.devices import describe


def test_on_a_machine_without_one():
    text = describe({"COLAB_GPU": "0"}, lambda path: False)
    assert "(cpu)" in text and "No accelerator was found" in text and "WARNING" not in text


@pytest.mark.parametrize(
    "environment, file, name",
    [
        ({"COLAB_GPU": "1"}, "", "GPU"),
        ({}, "/dev/nvidia0", "GPU"),
        ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, "", "TPU"),
        ({}, "/dev/accel0", "TPU"),
    ],
)
def test_an_accelerator_that_is_not_used(environment, file, name):
    text = describe(environment, lambda path: path == file)
    assert f"WARNING: this machine has a {name}, and JAX does not see it" in text and f"cnnvision[{name.lower()}]" in text
    assert "WARNING" not in describe(environment, lambda path: path == file, platform=name.lower())
