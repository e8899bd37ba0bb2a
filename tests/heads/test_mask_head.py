"""The mask head against slow sums, and its loss by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from cnnvision.heads.mask_head import MaskHead, class_masks, mask_loss
from tests.reference import convolution as reference


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow(params, pooled):
    """The head in float64: sums over all taps; each pixel becomes a block of two by two."""
    rectified = lambda x: np.maximum(x, 0.0)
    x = pooled.reshape(-1, *pooled.shape[2:]).astype(np.float64)
    for name in ("conv0", "conv1"):
        kernel, bias = (np.asarray(params[name][leaf], np.float64) for leaf in ("kernel", "bias"))
        none = np.zeros((*x.shape[:3], kernel.shape[-1]))
        x = rectified(reference.full(x, kernel, 1, "torch", none)[0] + bias)
    kernel, bias = (np.asarray(params["up"][leaf], np.float64) for leaf in ("kernel", "bias"))
    up = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], kernel.shape[-1]))
    for i in range(2):
        for j in range(2):
            up[:, i::2, j::2] = x @ kernel[:, i, j] + bias
    last = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["class"])
    return (rectified(up) @ last["kernel"][0, 0] + last["bias"]).reshape(*pooled.shape[:2], *up.shape[1:3], -1)


def test_the_head_equals_the_slow_sums():
    head, pooled = MaskHead(3, (5, 4)), drawn(2, 3, 6, 6, 7)
    params = jax.jit(head.init)(jax.random.key(0), pooled)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(drawn(*leaf.shape, seed=leaf.size)), params)
    found = jax.jit(head.apply)({"params": params}, pooled)
    assert found.shape == (2, 3, 12, 12, 4) and found.dtype == jnp.float32
    expected = slow(params, pooled)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_loss_by_hand():
    """Three regions of two by two pixels, background and two classes."""
    logits, targets = drawn(3, 2, 2, 3), np.random.default_rng(1).random((3, 2, 2)).astype(np.float32)
    labels, expected = np.array([1, 0, 1], np.int32), np.zeros(3)
    for region in range(3):
        for pixel in np.ndindex(2, 2):
            p = 1 / (1 + np.exp(-float(logits[region][pixel][1 + labels[region]])))
            t = float(targets[region][pixel])
            expected[region] -= (t * np.log(p) + (1 - t) * np.log(1 - p)) / 4
    found = mask_loss(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(targets))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_gradient_is_on_the_planes_of_the_true_classes_alone():
    logits, labels = jnp.asarray(drawn(3, 4, 4, 6)), jnp.array([4, 0, 2])
    targets = jnp.asarray(np.random.default_rng(2).random((3, 4, 4)), jnp.float32)
    slope = np.asarray(jax.grad(lambda logits: jnp.mean(mask_loss(logits, labels, targets)))(logits))
    expected = np.zeros_like(slope)
    for region in range(3):
        chosen = np.asarray(logits)[region, ..., 1 + labels[region]]
        expected[region, ..., 1 + labels[region]] = (1 / (1 + np.exp(-chosen)) - np.asarray(targets)[region]) / 48
    np.testing.assert_allclose(slope, expected, atol=1e-7)


def test_a_detection_s_mask_is_the_plane_of_its_class():
    logits = jnp.asarray(drawn(2, 3, 3, 5))
    found = class_masks(logits, jnp.array([3, 1]))
    for i, label in enumerate((3, 1)):
        np.testing.assert_allclose(found[i], 1 / (1 + np.exp(-np.asarray(logits)[i, ..., 1 + label])), rtol=1e-6)
