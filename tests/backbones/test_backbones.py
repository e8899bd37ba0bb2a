"""Every backbone under every norm: declarations, parameter counts, what freezing freezes; and the errors of options."""

import re
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import BACKBONES, make_backbone
from cnnvision.backbones.resnet import ResidualBlock
from cnnvision.backbones.vgg import DilatedStage
from cnnvision.errors import ConfigError

DEEPER = ("resnet34", "resnet50", "resnet101", "darknet_v1")
"""Of them only the first norm is tested; they place their norms as resnet18 and vgg16_bn do."""
NORMS = [(name, norm) for name in BACKBONES for norm in make_backbone(name).norms[: 1 if name in DEEPER else None]]


def size_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@cache
def shapes(name, **options):
    """Shapes of the variables, from an image of 32 x 32."""
    backbone = make_backbone(name, **options)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(lambda image: backbone.init(jax.random.key(0), image, False), image)


@cache
def initialised(name, **options):
    """Variables with their initial values."""
    backbone = make_backbone(name, **options)
    return jax.jit(lambda key, image: backbone.init(key, image, False))(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize(("name", "norm"), NORMS)
def test_features_are_as_declared(name, norm):
    backbone = make_backbone(name, norm=norm, dtype="bfloat16")
    variables = shapes(name, norm=norm, dtype="bfloat16")
    assert set(variables["params"]) == set(backbone.stages)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    assert ("batch_stats" in variables) == (norm in ("batch", "frozen"))
    image = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    valid = jax.ShapeDtypeStruct((2,), bool)
    apply = lambda variables, image, valid: backbone.apply(variables, image, True, valid, mutable=True)
    features, state = jax.eval_shape(apply, variables, image, valid)
    assert tuple(features) == backbone.strides == tuple(sorted(backbone.channels))
    for stride, feature in features.items():
        assert feature.shape == (2, 64 // stride, 96 // stride, backbone.channels[stride])
        assert feature.dtype == jnp.bfloat16
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, variables)


@pytest.mark.parametrize("name", ["small", "resnet18", "vgg16", "efficientnet_lite0"])
def test_any_size_gives_features(name):
    """37 x 41 pixels: halved five times, up to 2 x 2 or, by VGG's pooling, down to 1 x 1."""
    backbone = make_backbone(name)
    image = jax.ShapeDtypeStruct((1, 37, 41, 3), jnp.float32)
    features = jax.eval_shape(lambda variables, image: backbone.apply(variables, image, False), shapes(name), image)
    for stride, feature in features.items():
        rounded = [side // stride if name.startswith("vgg") else -(-side // stride) for side in (37, 41)]
        assert list(feature.shape[1:3]) == rounded


def test_vgg_may_round_up():
    """SSD's 38 x 38 map of stride 8 on 300 pixels; torch's rounding gives 37."""
    for ceil, side in ((True, 38), (False, 37)):
        backbone = make_backbone("vgg16", ceil=ceil)
        image = jax.ShapeDtypeStruct((1, 300, 300, 3), jnp.float32)
        features = jax.eval_shape(
            lambda variables, image, b=backbone: b.apply(variables, image, False), shapes("vgg16"), image
        )
        assert features[8].shape == (1, side, side, 512)


def test_the_dilated_vgg_by_hand():
    """conv4_3 and fc7 on SSD's 300 pixels: 38 x 38 and 19 x 19 positions; fc6 reaches six pixels from the last max-pool."""
    backbone = make_backbone("vgg16_dilated")
    image = jax.ShapeDtypeStruct((1, 300, 300, 3), jnp.float32)
    features = jax.eval_shape(
        lambda variables, image: backbone.apply(variables, image, False), shapes("vgg16_dilated"), image
    )
    assert {stride: feature.shape[1:] for stride, feature in features.items() if stride > 4} == {
        8: (38, 38, 512), 16: (19, 19, 1024)
    }  # fmt: skip
    params = jax.tree.map(jnp.zeros_like, initialised("vgg16_dilated")["params"]["fc"])
    params["fc6"]["kernel"] = params["fc6"]["kernel"].at[0, 2, 0, 0].set(1.0)
    params["fc7"]["kernel"] = params["fc7"]["kernel"].at[0, 0, 0, 0].set(1.0)
    drawn = np.abs(np.random.default_rng(0).standard_normal((1, 15, 16, 512))).astype(np.float32)
    found = DilatedStage(1024, jnp.float32).apply({"params": params}, jnp.array(drawn))[0, :, :, 0]
    expected = np.zeros((15, 16))
    expected[6:, :10] = drawn[0, :9, 6:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def conv(size, inputs, outputs, norm=True):
    """Weights of a convolution, with scale and bias of its norm, or with its own bias."""
    return size * size * inputs * outputs + (2 if norm else 1) * outputs


def resnet(blocks, bottleneck):
    """Table 1 of He et al. 2016, with 1000 classes."""
    total, inputs = conv(7, 3, 64), 64
    for i, count in enumerate(blocks):
        width = 64 * 2**i
        outputs = 4 * width if bottleneck else width
        for block in range(count):
            if bottleneck:
                total += conv(1, inputs, width) + conv(3, width, width) + conv(1, width, outputs)
            else:
                total += conv(3, inputs, width) + conv(3, width, width)
            if block == 0 and inputs != outputs:
                total += conv(1, inputs, outputs)
            inputs = outputs
    return total + inputs * 1000 + 1000


def vgg(norm):
    """Column D of table 1 of Simonyan & Zisserman 2015: 138 million; a norm adds scale and bias for each channel."""
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    total = sum(conv(3, i, o, norm=False) for i, o in pairwise(widths))
    total += 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    return total + (2 * sum(widths[1:]) if norm else 0)


def vgg_dilated():
    """The convolutions of column D, and fc6 and fc7 as convolutions of 1,024 channels."""
    return vgg(False) - 123_642_856 + conv(3, 512, 1024, norm=False) + conv(1, 1024, 1024, norm=False)


def efficientnet_lite0():
    """Table 1 of Tan & Le 2019 without squeeze-and-excitation, with the last 1x1 convolution and 1000 classes."""
    total, inputs = conv(3, 3, 32), 32
    rows = ((1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 3, 3), (6, 112, 3, 5), (6, 192, 4, 5), (6, 320, 1, 3))
    for expansion, outputs, blocks, size in rows:
        for _ in range(blocks):
            wide = inputs * expansion
            total += (conv(1, inputs, wide) if expansion > 1 else 0) + conv(size, 1, wide) + conv(1, wide, outputs)
            inputs = outputs
    return total + conv(1, 320, 1280) + 1280 * 1000 + 1000


@pytest.mark.parametrize(
    ("name", "head", "derived", "published"),
    [
        ("resnet18", 512 * 1000 + 1000, resnet((2, 2, 2, 2), False), 11_689_512),
        ("resnet34", 512 * 1000 + 1000, resnet((3, 4, 6, 3), False), 21_797_672),
        ("resnet50", 2048 * 1000 + 1000, resnet((3, 4, 6, 3), True), 25_557_032),
        ("resnet101", 2048 * 1000 + 1000, resnet((3, 4, 23, 3), True), 44_549_160),
        ("vgg16", 123_642_856, vgg(False), 138_357_544),
        ("vgg16_bn", 123_642_856, vgg(True), 138_365_992),
        ("vgg16_dilated", 15_157_922, vgg_dilated() + 15_157_922, 35_641_826),  # with the other layers of ssd300_vgg16
        ("efficientnet_lite0", 1280 * 1000 + 1000, efficientnet_lite0(), 4_652_008),
    ],
)
def test_parameters_are_as_many_as_derived_from_the_paper(name, head, derived, published):
    """With the classifier of 1000 classes, which `head` counts, as the published numbers are."""
    options = {"head_conv": True} if name == "efficientnet_lite0" else {}
    assert size_of(shapes(name, **options)["params"]) + head == derived == published


@pytest.mark.parametrize(("name", "norm"), NORMS)
@pytest.mark.parametrize("frozen_stages", [0, 2])
def test_trainable_names_every_leaf(name, norm, frozen_stages):
    backbone = make_backbone(name, norm=norm, frozen_stages=frozen_stages)
    params = shapes(name, norm=norm, dtype="bfloat16")["params"]
    mask = backbone.trainable(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    for path, free in jax.tree.leaves_with_path(mask):
        stage, layer = path[0].key, path[-2].key
        of_norm = "norm" in layer
        assert free == (stage not in backbone.stages[:frozen_stages] and not (of_norm and norm == "frozen")), path


def gradients_and_state(name, image, valid, **options):
    """Of the sum of all features' mean squares, in training: (gradients, new statistics)."""
    backbone, variables = make_backbone(name, **options), dict(initialised(name, **options))

    @jax.jit
    def run(params, statistics, image, valid):
        def loss(params):
            features, state = backbone.apply({"params": params, **statistics}, image, True, valid, mutable=True)
            return sum(jnp.mean(jnp.square(feature.astype(jnp.float32))) for feature in features.values()), state

        return jax.grad(loss, has_aux=True)(params)

    return run(variables.pop("params"), variables, image, valid)


@pytest.mark.parametrize(("norm", "frozen_stages"), [("batch", 0), ("batch", 2), ("frozen", 0), ("group", 3)])
def test_what_is_frozen_has_no_gradient_and_keeps_its_statistics(norm, frozen_stages):
    """And all else has a gradient, and statistics that move."""
    options = {"width": 8, "layers": 2, "norm": norm, "frozen_stages": frozen_stages}
    backbone, variables = make_backbone("small", **options), initialised("small", **options)
    image = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    gradients, state = gradients_and_state("small", image, jnp.ones(4, bool), **options)
    free = jax.tree.leaves(backbone.trainable(variables["params"]))
    for (path, leaf), moves in zip(jax.tree.leaves_with_path(gradients), free, strict=True):
        assert bool(leaf.any()) == moves, path
    for stage in backbone.stages if norm != "group" else ():
        moves = norm == "batch" and stage not in backbone.stages[:frozen_stages]
        before, after = (jax.tree.leaves(trees["batch_stats"][stage]) for trees in (variables, state))
        assert all(bool((a != b).any()) == moves for a, b in zip(before, after, strict=True)), stage


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_gradients_in_bfloat16_are_finite(norm):
    image = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    gradients, _ = gradients_and_state(
        "small", image, jnp.array([True, False]), width=8, layers=2, norm=norm, dtype="bfloat16"
    )
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all(), path
        assert leaf.any() != (norm == "frozen" and "norm" in path[-2].key), path


def test_examples_that_fill_up_the_batch_change_no_feature_and_no_statistic():
    backbone, variables = make_backbone("small", width=8, layers=2), initialised("small", width=8, layers=2)
    image = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
    run = jax.jit(lambda variables, *inputs: backbone.apply(variables, inputs[0], True, inputs[1], mutable=["batch_stats"]))
    apply = lambda *inputs: run(variables, *inputs)
    features, state = apply(image, jnp.ones(3, bool))
    padded = jnp.concatenate([image, jnp.full((2, 32, 32, 3), 7.0)])
    padded_features, padded_state = apply(padded, jnp.arange(5) < 3)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    jax.tree.map(same, state, padded_state)
    jax.tree.map(same, features, {stride: feature[:3] for stride, feature in padded_features.items()})


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_residual_block_may_start_as_its_shortcut(bottleneck):
    block = ResidualBlock(4, bottleneck, zero_init=True)
    image = jax.random.normal(jax.random.key(0), (2, 5, 5, 16 if bottleneck else 4))
    output, _ = block.init_with_output(jax.random.key(1), image, False)
    np.testing.assert_array_equal(output, np.maximum(image, 0))


def test_where_the_epsilon_is_0_larger_variances_give_the_same_features():
    variables = initialised("resnet18", norm="frozen")
    image = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    larger = jax.tree_util.tree_map_with_path(lambda path, x: x + 0.5 if path[-1].key == "var" else x, variables)
    features = lambda epsilon, variables: jax.jit(
        lambda variables: make_backbone("resnet18", norm="frozen", norm_epsilon=epsilon).apply(variables, image, False)
    )(variables)
    expected, found = features(0.5, variables), features(0.0, larger)
    for stride in expected:
        np.testing.assert_allclose(found[stride], expected[stride], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_epsilon_reaches_each_of_a_resnet_s_norms(name):
    """Each frozen norm's variance gets it: as many additions of it stand in the program as there are variances."""
    variables = shapes(name, norm="frozen")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    backbone = make_backbone(name, norm="frozen", norm_epsilon=0.123)
    program = str(jax.make_jaxpr(lambda variables, image: backbone.apply(variables, image, False))(variables, image))
    norms = sum(path[-1].key == "var" for path, _ in jax.tree_util.tree_leaves_with_path(variables))
    assert len(re.findall(r"= add \w+ 0\.123", program)) == norms == {"resnet18": 20, "resnet50": 53}[name]
    assert make_backbone(name, norm="frozen").frozen_epsilon == 1e-5 and make_backbone(name).frozen_epsilon is None


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("resnet5", {}, "name: there is no 'resnet5'. Did you mean 'resnet50'"),
        ("resnet50", {"norms": "batch"}, "norms: there is no such key. Did you mean 'norm'"),
        (
            "resnet50",
            {"depth": 18},
            "depth: there is no such key. Known: dtype, frozen_stages, norm, norm_epsilon",
        ),
        ("resnet50", {"norm": "gruop"}, "norm: ResNet has no norm 'gruop'. Did you mean 'group'"),
        ("resnet18", {"norm_epsilon": -1e-5}, "norm_epsilon = -1e-05: must be a number in 0 … 1"),
        ("vgg16", {"norm": "batch"}, "norm: VGG16 has no norm 'batch'. Known: none."),
        ("vgg16_bn", {"norm": "none"}, "norm: VGG16BN has no norm 'none'"),
        ("small", {"frozen_stages": 6}, "frozen_stages: 6 must be from 0 to 5: the stages of SmallNet are stem, layer1"),
        ("small", {"frozen_stages": -1}, "frozen_stages: -1 must be"),
        ("small", {"width": 0}, "width = 0: must be a whole number in 1 … 4,096"),
        ("small", {"dtype": "bfloat"}, "dtype: there is no 'bfloat'. Did you mean 'bfloat16'"),
        ("contracting_path", {"depth": 9}, "depth = 9: must be a whole number in 1 … 8"),
        ("contracting_path", {"padding": "some"}, "padding: there is no 'some'. Did you mean 'same'"),
        ("contracting_path", {"dropout": 1.0}, "dropout = 1.0: must be a number in 0 … 0.99"),
    ],
)
def test_wrong_options(name, options, match):
    with pytest.raises(ConfigError) as error:
        make_backbone(name, **options)
    assert str(error.value).startswith(f"config.model.backbone.{match}")
