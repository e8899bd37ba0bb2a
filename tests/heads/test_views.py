"""Predictions of the middle alone, and averaged over turned and mirrored views (test-time augmentation)."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.heads.segmentation import (
    around,
    predict_labels,
    views,
)
from cnnvision.types import IGNORE, SemanticTarget
from tests.heads.test_segmentation_head import middle


def test_the_middle_and_what_is_around_it():
    labels = jnp.arange(2 * 7 * 9, dtype=jnp.uint8).reshape(2, 7, 9)
    target = SemanticTarget(labels, labels.astype(jnp.float32) * 2)
    for size in ((3, 5), (7, 9), (4, 6), (1, 1)):
        part = middle(target, size)
        top, left = (7 - size[0]) // 2, (9 - size[1]) // 2
        np.testing.assert_array_equal(part.labels, labels[:, top : top + size[0], left : left + size[1]])
        np.testing.assert_array_equal(part.weights, 2 * np.asarray(part.labels))
        whole = np.asarray(around(part.labels, (7, 9)))
        assert whole.dtype == np.uint8 and whole.shape == (2, 7, 9)
        np.testing.assert_array_equal(middle(SemanticTarget(jnp.asarray(whole)), size).labels, part.labels)
        assert (whole == IGNORE).sum() == 2 * (7 * 9 - size[0] * size[1])
        assert middle(dataclasses.replace(target, weights=None), size).weights is None


IMAGE = jnp.array(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 4))


def of_the_pixel(image):
    return image @ jnp.array(KERNEL[1, 1], jnp.float32)


def of_the_surroundings(image):
    """A convolution without padding: the answer depends on which neighbour is where, and lacks a rim of one."""
    size = (image.shape[1] - 2, image.shape[2] - 2)
    parts = [
        image[:, i : i + size[0], j : j + size[1]] @ jnp.array(KERNEL[i, j], jnp.float32) for i in range(3) for j in range(3)
    ]
    return sum(parts[1:], parts[0])


@pytest.mark.parametrize("average", ("none", "flips", "rotations"))
def test_an_average_of_views_is_the_plain_prediction_where_views_make_no_difference(average):
    found = predict_labels(of_the_pixel, IMAGE, average).labels
    assert found.dtype == jnp.uint8 and found.shape == (2, 8, 8)
    np.testing.assert_array_equal(found, np.argmax(of_the_pixel(IMAGE), axis=-1))


def convolved(image):
    """`of_the_surroundings` for one image, in NumPy, as probabilities."""
    height, width = image.shape[0] - 2, image.shape[1] - 2
    scores = np.array([
        [np.einsum("ijc,ijck->k", image[row : row + 3, column : column + 3], KERNEL) for column in range(width)]
        for row in range(height)
    ])  # fmt: skip
    return np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)


FLIPS = [lambda x: x, np.fliplr, np.flipud, lambda x: np.rot90(x, 2)]
DIAGONALS = [lambda x: x.swapaxes(0, 1), np.rot90, lambda x: np.rot90(x, 3), lambda x: np.rot90(x, 2).swapaxes(0, 1)]
ROTATIONS = [*FLIPS, *DIAGONALS]
"""The symmetries of a rectangle, and of a square."""

BACK = {5: 6, 6: 5}
"""Which view undoes another; all others undo themselves."""


@pytest.mark.parametrize(
    ("average", "size"), [("none", (8, 8)), ("flips", (8, 8)), ("flips", (7, 10)), ("rotations", (8, 8))]
)
def test_an_average_of_views_is_that_of_their_probabilities(average, size):
    image = np.random.default_rng(2).normal(size=(2, *size, 3)).astype(np.float32)
    all_views = {"none": FLIPS[:1], "flips": FLIPS, "rotations": ROTATIONS}[average]
    found = np.asarray(predict_labels(of_the_surroundings, jnp.array(image), average).labels)
    back = lambda i, scores: ROTATIONS[BACK.get(i, i)](scores)
    score = lambda one: sum(back(i, convolved(view(one))) for i, view in enumerate(all_views))
    scores = [score(one) for one in image.astype(float)]
    expected = np.full((2, *size), IGNORE)
    expected[:, 1:-1, 1:-1] = np.argmax(scores, axis=-1)
    np.testing.assert_array_equal(found, expected)
    if average != "none":
        assert (found != np.asarray(predict_labels(of_the_surroundings, jnp.array(image)).labels)).any()


def test_views_are_all_different():
    corner = np.arange(9).reshape(3, 3)
    for average, count in (("none", 1), ("flips", 4), ("rotations", 8)):
        seen = {np.rot90(np.fliplr(corner) if flip else corner, turns).tobytes() for turns, flip in views(average)}
        assert len(seen) == len(views(average)) == count
