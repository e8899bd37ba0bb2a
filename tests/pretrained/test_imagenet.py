"""EfficientNet-Lite0 with the ImageNet weights of its package."""

import jax
import numpy as np

from cnnvision.pretrained.loading import to_torchvision
from cnnvision.pretrained.start import load_pretrained
from cnnvision.pretrained.torch_files import imagenet_file, read_weights
from tests.pretrained.networks import logits, shapes
from tests.reference import efficientnet_lite0
from tests.reference.torch_weights import GOLDENS


def test_logits_are_those_of_an_independent_computation():
    """On a picture, from the same numbers in the file: the whole of loading, padding, epsilon and activation."""
    picture = np.load(GOLDENS / "resnet18.npz")["image"][:224, 40:264]
    image = ((picture.astype(np.float32) - 127) / 128).astype(np.float32)
    params, model_state, report = load_pretrained(
        "imagenet", "efficientnet_lite0", *shapes("efficientnet_lite0", head_conv=True)
    )
    with jax.default_matmul_precision("highest"):
        ours = logits("efficientnet_lite0", head_conv=True)(params, model_state, image[None])
    state = read_weights(imagenet_file())
    theirs = efficientnet_lite0.logits(state, image)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours[0], theirs, atol=1e-3, rtol=0)
    assert "245 tensors" in report and "class from the same file" in report
    exported = to_torchvision(params, model_state, "efficientnet_lite0")
    assert exported.keys() == state.keys()
    counters = {key for key in state if key.endswith("num_batches_tracked")}
    assert all(np.array_equal(array, state[key]) for key, array in exported.items() if key not in counters)
