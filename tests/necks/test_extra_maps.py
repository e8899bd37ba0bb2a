"""necks/extra_maps.py: sides and channels of the published networks, the L2 norm, norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.necks.extra_maps import SSD300, SSD512, ExtraMaps, ExtraMapSettings, L2Norm


def shapes_of(maps, features, **options):
    features = {stride: jax.ShapeDtypeStruct(shape, jnp.float32) for stride, shape in features.items()}
    run = lambda features: ExtraMaps(maps, **options).init_with_output(jax.random.key(0), features, False)
    found, variables = jax.eval_shape(run, features)
    return [each.shape[1:] for each in found], jax.tree.map(lambda leaf: leaf.shape, variables)


@pytest.mark.parametrize(
    ("maps", "side", "sides", "channels"),
    [
        (SSD300, 38, (38, 19, 10, 5, 3, 1), (512, 1024, 512, 256, 256, 256)),
        (SSD512, 64, (64, 32, 16, 8, 4, 2, 1), (512, 1024, 512, 256, 256, 256, 256)),
    ],
)
def test_the_maps_of_the_paper(maps, side, sides, channels):
    """Figure 2, and the authors' code for 512 pixels."""
    features = {8: (1, side, side, 512), 16: (1, side // 2, side // 2, 1024)}
    found, variables = shapes_of(maps, features)
    assert found == [(side, side, width) for side, width in zip(sides, channels, strict=True)]
    first = variables["params"]["map0"]
    assert first["conv1"]["kernel"] == (1, 1, 1024, 256) and first["conv2"]["kernel"] == (3, 3, 256, 512)
    assert variables["params"]["l2_norm"]["scale"] == (512,)


def test_any_backbone_and_none():
    features = {4: (2, 9, 12, 5), 16: (2, 3, 3, 7)}
    found, variables = shapes_of(((4, 3, 2, 1),), features, l2_norm=False)
    assert found == [(9, 12, 5), (3, 3, 7), (2, 2, 4)] and set(variables["params"]) == {"map0"}
    found, variables = shapes_of((), {4: (2, 9, 12, 5)}, l2_norm=False)
    assert found == [(9, 12, 5)] and not variables


def test_maps_may_be_widened_for_the_head():
    """Each by a convolution of its own; the maps behind them are made of the maps themselves."""
    features = {4: (2, 9, 12, 5), 16: (2, 3, 3, 7)}
    found, variables = shapes_of(((4, 3, 2, 1),), features, l2_norm=False, norm="group", width=6)
    assert found == [(9, 12, 6), (3, 3, 6), (2, 2, 6)]
    kernels = [variables["params"][f"widen{i}"]["kernel"] for i in range(3)]
    assert kernels == [(3, 3, 5, 6), (3, 3, 7, 6), (3, 3, 4, 6)]
    assert variables["params"]["map0"]["conv1"]["kernel"] == (1, 1, 7, 2)


def test_the_l2_norm_by_hand():
    """Length 1 along the channels, times a scale of 20 to begin with; zeros stay, and nothing is infinite there."""
    image = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0]]).reshape(1, 1, 3, 2)
    params = L2Norm().init(jax.random.key(0), image)
    assert params["params"]["scale"].tolist() == [20.0, 20.0]
    params = {"params": {"scale": jnp.array([20.0, 10.0])}}
    found = L2Norm().apply(params, image)[0, 0]
    np.testing.assert_allclose(found, [[12, 8], [0, 0], [20, 0]], rtol=1e-6)
    slope = jax.grad(lambda image: jnp.sum(L2Norm().apply(params, image)))(image)
    assert np.isfinite(slope).all() and not slope[0, 0, 1].any()
    length = lambda image: jnp.sum(jnp.square(L2Norm().apply({"params": {"scale": jnp.ones(2)}}, image)))
    np.testing.assert_allclose(jax.grad(length)(image)[0, 0, 0], 0.0, atol=1e-6)  # the length cannot change


def test_each_convolution_has_its_norm_and_relu():
    """Statistics of valid examples alone; without a norm, biases."""
    features = {8: jax.random.normal(jax.random.key(0), (3, 8, 8, 4))}
    neck = ExtraMaps(((6, 3, 2, 1),), l2_norm=False, norm="batch")
    variables = neck.init(jax.random.key(1), features, False)
    assert set(variables["params"]["map0"]) == {"conv1", "norm1", "conv2", "norm2"}
    assert set(variables["params"]["map0"]["conv2"]) == {"kernel"}
    valid = jnp.array([True, True, False])
    run = lambda features: neck.apply(variables, features, True, valid, mutable=["batch_stats"])
    maps, state = run(features)
    other, state_of_other = run({8: features[8].at[2].add(5.0)})
    np.testing.assert_array_equal(maps[1][:2], other[1][:2])
    jax.tree.map(np.testing.assert_array_equal, state, state_of_other)
    assert (maps[1] >= 0).all() and (maps[1] == 0).any()
    assert set(ExtraMaps(((6, 3, 2, 1),)).init(jax.random.key(1), features, False)["params"]["map0"]["conv1"]) == {
        "kernel",
        "bias",
    }


@pytest.mark.parametrize("of", [(1, 3, 2, 1), (8, 0, 1, 0), (8, 3, 0, 1), (8, 3, 1, 3)])
def test_maps_that_cannot_be_made(of):
    with pytest.raises(ConfigError, match=r"^maps = .*: each must be \(channels, 2 at least"):
        ExtraMapSettings((SSD300[0], of))
