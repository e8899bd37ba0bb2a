"""Our networks under torchvision's drawn weights against torchvision's own answers, and the way back."""

import jax
import numpy as np
import pytest

from cnnvision.pretrained.loading import from_torchvision, to_torchvision
from tests.pretrained.networks import logits, shapes
from tests.reference.torch_weights import load_golden


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16"])
def test_logits_are_those_of_torchvision(name):
    state, golden = load_golden(name)
    params, model_state, _ = from_torchvision(state, *shapes(name, hidden=(4096, 4096)), name)
    with jax.default_matmul_precision("highest"):
        ours = logits(name, hidden=(4096, 4096))(params, model_state, golden["input"][None])
    assert np.abs(golden["logits"]).max() > 1
    np.testing.assert_allclose(ours[0], golden["logits"], atol=1e-3, rtol=0)
    exported = to_torchvision(params, model_state, name)
    assert exported.keys() == state.keys()
    assert all(np.array_equal(array, state[key]) for key, array in exported.items())
