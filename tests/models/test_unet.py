"""U-Net: the paper's sizes and parameters, what each skip brings, how far a pixel sees, and the rim without padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.backbones import make_backbone
from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import SegmentationHead, around
from cnnvision.models.unet import UNet, fitting_side, output_side, reach
from cnnvision.necks.decoder import Decoder, level_widths
from cnnvision.ops.images import centre
from cnnvision.types import IGNORE, SemanticTarget
from tests.models import segmenters
from tests.models.segmenters import batch_of, close, noise, parameters_in, start, unet_of, unet_task, variables_of
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


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("depth", [1, 2])
def test_without_padding_the_logits_are_those_of_the_middle(depth, upsampling):
    """Far from the border padding changes nothing, so both variants agree there, if each level is cropped where it belongs.

    The poolings must pool the same pixels together. Without padding the first begins at pixel 2, the second at pixel 6 (2,
    and 2 of stride 2), 2 past a multiple of 4: so the padded network gets an image that begins 2 pixels later.
    """
    side, shift, image = 128, 2**depth - 2, noise(1, 128, 128, 3)
    same, valid = (unet_of(depth, width=3, upsampling=upsampling, valid=valid) for valid in (False, True))
    variables = variables_of(same, (side, side))
    logits_of = lambda network: jax.jit(lambda image: network.apply(variables, image, jnp.ones(1, bool), False))
    lost = (side - output_side(side, depth)) // 2
    inner = logits_of(valid)(image)
    assert inner.shape[1:3] == (side - 2 * lost, side - 2 * lost)
    whole = logits_of(same)(image[:, shift : shift + 124, shift : shift + 124])
    # Pixels 48 … 79 of the image: 48 from its border, more than the reach of 26.
    ours, others = (slice(48 - begin, 80 - begin) for begin in (lost, shift))
    close(inner[:, ours, ours], whole[:, others, others], 1e-5)


@functools.cache
def without_padding():
    """A task at 44×52 pixels, of which it answers for 4×12: 44 -> 40 -> 20 -> 16 -> 8 -> 4, up 8 -> 4, up 8 -> 4."""
    task = unet_task(depth=2, width=2, valid=True, size=(44, 52), resize="tile")
    return task, *start(task)


def test_without_padding_only_labels_and_weights_of_the_middle_count():
    task, params, state = without_padding()
    batch = batch_of(task)
    inside = np.zeros((2, 44, 52), bool)
    inside[:, 20:24, 20:32] = True
    loss_of = lambda target: task.loss(params, state, batch.replace(target=target), jax.random.key(0), False)[0]
    slope = jax.jit(jax.grad(lambda weights: loss_of(batch.target.replace(weights=weights)).value()))
    np.testing.assert_array_equal(np.asarray(slope(jnp.ones((2, 44, 52)))) != 0, inside)
    value = jax.jit(lambda labels: loss_of(SemanticTarget(labels)).value())
    labels, others = np.asarray(batch.target.labels), np.asarray(batch.target.labels + 1) % np.uint8(3)
    first = float(value(labels))
    assert float(value(np.where(inside, labels, others))) == first
    assert float(value(np.where(inside, labels, np.uint8(IGNORE)))) == first
    for place in ((20, 20), (20, 31), (23, 20), (23, 31)):
        changed = labels.copy()
        changed[0][place] = others[0][place]
        assert float(value(changed)) != first


@pytest.mark.parametrize("average", ["none", "flips"])
def test_without_padding_the_rim_has_no_answer(average):
    task, params, state = without_padding()
    task = unet_task(depth=2, width=2, valid=True, size=(44, 52), resize="tile", tta=average)
    labels = np.asarray(jax.jit(task.predict)(params, state, batch_of(task)).labels)
    assert labels.shape == (2, 44, 52) and labels.dtype == np.uint8
    assert (labels[:, 20:24, 20:32] < 3).all()
    assert (labels == IGNORE).sum() == 2 * (44 * 52 - 4 * 12)


def test_putting_into_the_middle_is_the_inverse_of_cutting_it_out():
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 9, 12)).astype(np.uint8))
    weights = jnp.arange(216.0).reshape(2, 9, 12)
    for size in ((5, 12), (4, 7), (9, 12), (1, 1)):
        part = jax.tree.map(lambda plane, size=size: centre(plane, size), SemanticTarget(labels, weights))
        back = np.asarray(around(part.labels, (9, 12)))
        assert part.labels.shape == part.weights.shape == (2, *size)
        np.testing.assert_array_equal(back[back != IGNORE], np.asarray(labels)[back != IGNORE])
        assert (back != IGNORE).sum() == 2 * size[0] * size[1]


@pytest.mark.parametrize("size", [(45, 52), (44, 51), (64, 30), (20, 20), (1, 2000)])
@pytest.mark.parametrize("depth", [2, 4])
def test_a_size_that_does_not_fit_without_padding_is_refused_and_one_that_does_is_named(size, depth):
    with pytest.raises(
        ConfigError, match=r"config\.data\.size: .* does not fit a U-Net without padding: .*; e\.g\. \("
    ) as error:
        unet_task(depth=depth, valid=True, size=size, resize="tile")
    named = tuple(int(side) for side in str(error.value).rpartition("(")[2].rstrip(")").split(", "))
    assert unet_task(depth=depth, valid=True, size=named, resize="tile").inputs.sizes == (named,)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_without_padding_there_must_be_tiles(resize):
    with pytest.raises(ConfigError, match=r'config\.data\.resize = "\w+": .* 20 pixels less at each side; take .*"tile"'):
        unet_task(depth=2, valid=True, size=(44, 52), resize=resize)


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
