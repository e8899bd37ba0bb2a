"""necks/fpn.py: sums by hand, and sides that are no multiples of the strides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.necks.fpn import FeaturePyramid, nearest


def test_nearest_neighbours_as_torch_has_them():
    image = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(nearest(image, (4, 6))[0, :, :, 0], np.repeat(np.repeat(image[0, :, :, 0], 2, 0), 2, 1))
    odd = nearest(image, (3, 5))[0, :, :, 0]
    np.testing.assert_array_equal(odd, np.asarray(image)[0, :, :, 0][np.ix_([0, 0, 1], [0, 0, 1, 1, 2])])


@pytest.mark.parametrize("sides", [(32, 48), (33, 47)])
def test_each_map_knows_the_coarser_ones(sides):
    features = {s: jnp.ones((2, -(-sides[0] // s), -(-sides[1] // s), 3 + s)) for s in (4, 8, 16)}
    neck = FeaturePyramid(width=5)
    params = neck.init(jax.random.key(0), features)
    out = neck.apply(params, features)
    assert list(out) == [4, 8, 16, 32]
    assert {s: x.shape for s, x in out.items() if s < 32} == {s: (*x.shape[:3], 5) for s, x in features.items()}
    np.testing.assert_array_equal(out[32], out[16][:, ::2, ::2])
    for stride in (4, 8, 16):
        moved = neck.apply(params, {**features, stride: 2 * features[stride]})
        changed = {s for s in (4, 8, 16) if not np.array_equal(moved[s], out[s])}
        assert changed == {s for s in (4, 8, 16) if s <= stride}
    assert list(FeaturePyramid(width=5, coarser=0).apply(params, features)) == [4, 8, 16]


def test_sums_by_hand():
    """With identities for convolutions each map is the sum of those from it on, doubled."""
    rng = np.random.default_rng(0)
    features = {s: jnp.array(rng.normal(size=(1, 8 // s, 8 // s, 2)), jnp.float32) for s in (1, 2, 4)}
    neck = FeaturePyramid(width=2, coarser=0)
    params = neck.init(jax.random.key(0), features)["params"]
    for name, layer in params.items():
        size = layer["kernel"].shape[0]
        layer["kernel"] = jnp.zeros_like(layer["kernel"]).at[size // 2, size // 2].set(jnp.eye(2))
        assert name.startswith(("lateral", "output"))
    out = neck.apply({"params": params}, features)
    grow = lambda image, factor: np.repeat(np.repeat(image, factor, 1), factor, 2)
    np.testing.assert_allclose(out[1], features[1] + grow(features[2], 2) + grow(features[4], 4), rtol=1e-5)


def test_coarser_maps_by_convolutions():
    """P6 = conv(P5), P7 = conv(ReLU(P6)), of stride 2: with identities every second position, the second one rectified."""
    features = {8: jnp.array(np.random.default_rng(1).normal(size=(1, 8, 12, 2)), jnp.float32)}
    neck = FeaturePyramid(width=2, coarser=2, by="convolutions")
    params = neck.init(jax.random.key(0), features)["params"]
    assert set(params) == {"lateral8", "output8", "coarser16", "coarser32"}
    for layer in params.values():
        size = layer["kernel"].shape[0]
        layer["kernel"] = jnp.zeros_like(layer["kernel"]).at[size // 2, size // 2].set(jnp.eye(2))
    out = neck.apply({"params": params}, features)
    np.testing.assert_allclose(out[16], features[8][:, ::2, ::2], rtol=1e-6)
    np.testing.assert_allclose(out[32], np.maximum(features[8][:, ::2, ::2], 0)[:, ::2, ::2], rtol=1e-6)
