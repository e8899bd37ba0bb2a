"""U-Net without padding, as published: logits of the middle alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import around
from cnnvision.models.unet import output_side
from cnnvision.ops.images import centre
from cnnvision.types import IGNORE, SemanticTarget
from tests.models.segmenters import batch_of, close, noise, start, unet_of, unet_task, variables_of


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
