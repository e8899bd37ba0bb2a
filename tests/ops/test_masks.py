"""Targets of masks against the slow sums (which are torchvision's to 2e-14), and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.data.batching import crop_mask
from cnnvision.ops.masks import mask_targets
from tests.reference.masks import mask_target

TARGETS = jax.jit(mask_targets, static_argnums=(5, 6, 7))


def in_image(mask, box, height, width):
    whole = np.zeros((height, width), bool)
    x1, y1, x2, y2 = box
    whole[y1:y2, x1:x2] = mask
    return whole


def test_a_row_by_hand():
    """A region that is the object's box: each sample lies between two pixels, as position i is at pixel i's middle."""
    mask, box = np.zeros((1, 4, 4), bool), np.array([[2.0, 0.0, 6.0, 4.0]], np.float32)
    mask[0, :, :2] = True
    of_rule = lambda alignment: TARGETS(mask, box, np.zeros(1, np.int32), box, np.array([4, 9]), 4, 1, alignment)[0]
    np.testing.assert_allclose(of_rule("torchvision"), np.tile([1.0, 0.5, 0.0, 0.0], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(of_rule("exact"), np.tile([1.0, 1.0, 0.0, 0.0], (4, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "alignment", "offset"), [(3, "torchvision", 0.0), (14, "torchvision", 0.0), (14, "exact", 0.5)]
)
def test_of_a_cell_a_pixel_they_are_those_of_the_whole_mask(size, alignment, offset):
    """Regions beyond the image's rim, smaller than a pixel, and far from the object among them."""
    rng, height, width = np.random.default_rng(size), 40, 53
    corner = rng.integers(0, 20, (3, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1)
    masks = rng.random((3, 20, 20)) < 0.5
    object = np.arange(24, dtype=np.int32) % 3
    regions = boxes[object] + rng.uniform(-12, 12, (24, 4)).astype(np.float32)
    regions[:3] = [[5.2, 4.1, 5.6, 4.2], [0, 0, width, height], [-9.5, 30.0, 4.0, height + 7.0]]
    regions[:, 2:] = np.maximum(regions[:, 2:], regions[:, :2])
    regions = regions.astype(np.float32)
    image, most = np.array([height, width]), -(-60 // size)
    found = TARGETS(masks, boxes.astype(np.float32), object, regions, image, size, most, alignment)
    for target, k, region in zip(found, object, regions, strict=True):
        whole = in_image(masks[k], boxes[k], height, width)
        np.testing.assert_allclose(target, mask_target(whole, region, size, offset), atol=2e-5)


@functools.cache
def blob():
    """A disc with a hole, in 61×37 pixels."""
    y, x = np.mgrid[:61, :37]
    far = np.hypot((y - 30) / 30, (x - 18) / 18)
    return (far <= 1) & (far >= 0.35)


@pytest.mark.parametrize(("cells", "apart"), [(28, 0.03), (56, 0.012), (112, 0.003)])
def test_with_more_cells_they_come_closer_to_those_of_the_whole_mask(cells, apart):
    box, regions = (
        np.array([8, 5, 45, 66]),
        np.array([[6.3, 2.0, 47.1, 69.5], [8, 5, 45, 66], [20.5, 30.2, 60, 66]], np.float32),
    )
    small = crop_mask(in_image(blob(), box, 80, 70), box, cells)
    arguments = small[None], box[None].astype(np.float32), np.zeros(3, np.int32), regions, np.array([80, 70])
    found = TARGETS(*arguments, 28, 3)
    exact = [mask_target(in_image(blob(), box, 80, 70), region, 28) for region in regions]
    assert np.abs(found - np.stack(exact)).mean() <= apart


def test_no_region_is_no_target():
    masks, regions, of_none = jnp.zeros((2, 8, 8), bool), jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32)
    found = TARGETS(masks, jnp.ones((2, 4)), of_none, regions, jnp.array([9, 9]), 5, 2)
    assert found.shape == (0, 5, 5)
