"""ops/images.py: normalisation, and zeros in the padding."""

import jax.numpy as jnp
import numpy as np

from cnnvision.ops.images import normalize


def test_normalize_leaves_zeros_in_the_padding():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    size = np.array([[6, 5], [4, 3]], np.int32)
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    found = np.asarray(normalize(jnp.array(image), jnp.array(size), mean, std))
    expected = np.zeros(image.shape)
    for example, (height, width) in enumerate(size):
        for channel in range(3):
            part = image[example, :height, :width, channel]
            expected[example, :height, :width, channel] = (part - mean[channel]) / std[channel]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (found[1, 4:] == 0).all() and (found[1, :, 3:] == 0).all()
    assert normalize(jnp.array(image), jnp.array(size), mean, std, jnp.bfloat16).dtype == jnp.bfloat16
