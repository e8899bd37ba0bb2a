"""U-Net: the paper's sizes and parameters, what each skip brings, how far a pixel sees, and the rim without padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import make_backbone
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.models.unet import UNet, fitting_side, output_side, reach
from cnnvision.necks.decoder import Decoder, level_widths
from cnnvision.ops.images import centre
from cnnvision.types import IGNORE
from tests.models import segmenters
from tests.models.segmenters import batch_of, noise, parameters_in, start, unet_of, unet_task, variables_of
from tests.models.tasks import SMALL


def shapes_of(network, *size):
    """(logits, variables) of a network on one image, as shapes."""
    call = functools.partial(network.init_with_output, train=False)
    return jax.eval_shape(call, jax.random.key(0), jnp.zeros((1, *size, 3)), jnp.ones(1, bool))


# The paper --------------------------------------------------------------------------------------------------------------


def test_the_papers_network_has_so_many_parameters():
    """Level by level: a pair of 3×3 convolutions i -> w -> w has 9·i·w + w + 9·w·w + w numbers; an up-convolution 2×2
    i -> w has 4·i·w + w; the last layer has 64 · 2 + 2. After a concatenation of w and w channels, a pair has 2·w inputs.
    """
    down = (
        (9 * 3 * 64 + 64) + (9 * 64 * 64 + 64)  # colour images
        + (9 * 64 * 128 + 128) + (9 * 128 * 128 + 128)
        + (9 * 128 * 256 + 256) + (9 * 256 * 256 + 256)
        + (9 * 256 * 512 + 512) + (9 * 512 * 512 + 512)
        + (9 * 512 * 1024 + 1024) + (9 * 1024 * 1024 + 1024)
    )  # fmt: skip
    up = (
        (4 * 1024 * 512 + 512) + (9 * 1024 * 512 + 512) + (9 * 512 * 512 + 512)
        + (4 * 512 * 256 + 256) + (9 * 512 * 256 + 256) + (9 * 256 * 256 + 256)
        + (4 * 256 * 128 + 128) + (9 * 256 * 128 + 128) + (9 * 128 * 128 + 128)
        + (4 * 128 * 64 + 64) + (9 * 128 * 64 + 64) + (9 * 64 * 64 + 64)
    )  # fmt: skip
    by_hand = down + up + 64 * 2 + 2
    assert by_hand - 9 * (3 - 1) * 64 == 31_030_658  # grey images, as in the paper: 31.0 million
    task = unet_task(depth=4, width=64, valid=True, size=(572, 572), resize="tile", classes=("membrane", "cell"))
    params, state = jax.eval_shape(task.init, jax.random.key(0), segmenters.empty_batch(task.inputs, 1))
    assert parameters_in(params) == by_hand == 31_031_810
    assert not state


def test_the_papers_input_and_output_sizes():
    assert output_side(572, 4) == 388
    logits, _ = shapes_of(unet_of(depth=4, width=64, valid=True, classes=2), 572, 572)
    assert logits.shape == (1, 388, 388, 2) and logits.dtype == jnp.float32


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_output_side_is_what_the_network_answers_for(depth):
    network, fitting = unet_of(depth, width=1, valid=True), []
    for side in range(1, 120):
        try:
            expected = output_side(side, depth)
        except ValueError:
            continue
        fitting.append(side)
        assert expected >= 1
    for side in (fitting[0], fitting[-1]):
        assert shapes_of(network, side, fitting[1])[0].shape[1:3] == (
            output_side(side, depth),
            output_side(fitting[1], depth),
        )
    # Each side at which every pooling meets an even map fits, so they lie 2^depth apart; one less would leave no pixel.
    assert set(np.diff(fitting)) == {2**depth}
    assert output_side(fitting[0], depth) <= 2**depth
    enough = [
        side for side in fitting if output_side(side, depth) >= 2**depth
    ]  # for a tile that keeps to the poolings' grid
    for side in range(1, 110):
        assert fitting_side(side, depth) in enough
        assert abs(fitting_side(side, depth) - side) == min(abs(fit - side) for fit in enough)


# Skips ------------------------------------------------------------------------------------------------------------------


@functools.cache
def changed_logits(skips):
    """(factor, offset) -> logits of a U-Net of depth 3, whose features of stride 2^i become factor[i] · them + offset[i]."""
    network, image = unet_of(depth=3, width=2, skips=skips), noise(1, 32, 40, 3)
    variables = variables_of(network, (32, 40))

    def logits(factor, offset):
        change = lambda features: {2**i: factor[i] * features[2**i] + offset[i] for i in range(4)}
        return segmenters.with_features_changed(network, variables, image, change)

    return jax.jit(logits)


@pytest.mark.parametrize("way", ["zeroed", "raised"])
@pytest.mark.parametrize("level", range(4))
def test_every_skip_reaches_the_logits(level, way):
    """Features of one stride are changed, and nothing else: no other level is computed from them then."""
    one = np.float32(np.arange(4) == level)
    change = (1 - one, 0 * one) if way == "zeroed" else (0 * one + 1, one / 2)
    before, after = (changed_logits(True)(*values) for values in ((0 * one + 1, 0 * one), change))
    assert float(jnp.mean(jnp.abs(after - before) > 1e-3)) > 0.5
    before, after = (changed_logits(False)(*values) for values in ((0 * one + 1, 0 * one), change))
    if level == 3:  # the map that is decoded, not a skip
        assert float(jnp.max(jnp.abs(after - before))) > 1e-3
    else:
        np.testing.assert_array_equal(after, before)


def test_without_skips_the_decoder_has_fewer_inputs_and_is_the_same_otherwise():
    with_skips, without = (
        jax.tree.map(jnp.shape, dict(shapes_of(unet_of(depth=3, skips=skips), 32, 32)[1]["params"]))
        for skips in (True, False)
    )
    expected = jax.tree.map(lambda shape: shape, with_skips, is_leaf=lambda node: isinstance(node, tuple))
    for i, width in enumerate((16, 8, 4)):
        kernel = expected["decoder"][f"level{i}"]["conv1"]
        assert kernel["kernel"] == (3, 3, 2 * width, width)
        kernel["kernel"] = (3, 3, width, width)
    assert without == expected


def test_a_skip_is_cropped_to_its_middle():
    rows = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 6, 1))
    np.testing.assert_array_equal(centre(rows, (4, 2))[0, :, :, 0], [[2, 2], [3, 3], [4, 4], [5, 5]])
    columns = jnp.arange(7.0)[None, None, :, None] * jnp.ones((1, 5, 7, 1))
    np.testing.assert_array_equal(centre(columns, (5, 3))[0, 0, :, 0], [2, 3, 4])


# How far a pixel sees ---------------------------------------------------------------------------------------------------


@functools.cache
def measured_reach(depth, upsampling):
    """How far the gradients of logits go, over the pixels of one cell of the poolings.

    Every weight is positive and images rise, or fall, along the diagonal: then each ReLU passes its input on, and the pixel
    that lies furthest is the largest of its four in each pooling on its way, which alone gets a gradient.
    """
    cell, side = 2**depth, 17 * 2**depth
    network = unet_of(depth, width=1, upsampling=upsampling)
    variables = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, variables_of(network, (side, side)))
    variables = jax.tree.map(lambda leaf: leaf / jnp.prod(jnp.array(leaf.shape[:-1], jnp.float32)), variables)
    places = side // 2 + jnp.arange(cell)
    rising = jnp.arange(1.0, side + 1)[None, :, None, None] + jnp.arange(1.0, side + 1)[None, None, :, None]

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def gradient(image, place):
        return jax.grad(lambda image: network.apply(variables, image, jnp.ones(1, bool), False)[0, place, place, 0])(image)

    furthest = 0
    for image in (rising, rising[:, ::-1, ::-1]):
        slopes = np.asarray(gradient(image * jnp.ones((1, 1, 1, 3)), places))
        for place, slope in zip(np.asarray(places), slopes, strict=True):
            for axis in (1, 2):
                seen = np.flatnonzero((slope[0] != 0).any((2 - axis, 2)))
                assert 0 < seen[0] and seen[-1] < side - 1  # the image is large enough to tell
                furthest = max(furthest, place - seen[0], seen[-1] - place)
    return furthest


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_reach_is_how_far_gradients_go(depth, upsampling):
    assert reach(depth, upsampling == "bilinear") == measured_reach(depth, upsampling)


def test_the_reach_of_the_papers_network():
    """On the way down and up a pair sees 2 pixels of its level further, the deepest pair 2 of 16: 2 · 2 · (1 + 2 + 4 + 8) +
    2 · 16 = 92, as without padding. What is pooled together is seen together: up to 15 pixels more.
    """
    assert (572 - output_side(572, 4)) // 2 == 92
    assert 92 <= reach(4) <= 92 + 15


# Without padding --------------------------------------------------------------------------------------------------------


# Other variants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_with_padding_every_multiple_of_the_stride_keeps_its_size(depth, upsampling):
    for rows, columns in ((1, 1), (1, 4), (5, 3)):
        size = rows * 2**depth, columns * 2**depth
        assert shapes_of(unet_of(depth, upsampling=upsampling), *size)[0].shape == (1, *size, 3)
        assert unet_task(depth, upsampling=upsampling, size=size).inputs.multiple_of == 2**depth


@pytest.mark.parametrize("name", ["small", "resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_any_backbone_is_a_contracting_path(name, upsampling):
    backbone = make_backbone(**(SMALL if name == "small" else {"name": name}))
    stride = max(backbone.strides)
    widths = level_widths(None, backbone.channels)
    network = UNet(backbone, Decoder(widths, upsampling, normalized=False), SegmentationHead(5))
    size = (2 * stride, 3 * stride)
    logits, variables = shapes_of(network, *size)
    assert logits.shape == (1, *size, 5)
    decoder = variables["params"]["decoder"]
    norms = {name for name in decoder if name.startswith("norm")}
    assert norms == {f"norm_stride{stride}" for stride in backbone.strides}  # their scales are not ours
    # One doubling for each halving; each concatenates what the backbone has at that stride, if it has anything.
    assert 2 ** len(widths) == stride
    for i, width in enumerate(widths):
        kernel = decoder[f"level{i}"]["conv1"]["kernel"]
        assert kernel.shape == (3, 3, width + backbone.channels.get(stride // 2 ** (i + 1), 0), width)


def test_a_backbones_answers_fill_the_input():
    task = segmenters.task_of("unet", (32, 48), backbone=SMALL)
    labels = jax.jit(task.predict)(*start(task), batch_of(task)).labels
    assert labels.shape == (2, 32, 48) and not (labels == IGNORE).any()
