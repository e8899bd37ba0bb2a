"""ops/roi_pool.py and ops/roi_align.py against one bin at a time, with gradients, on boxes of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnvision.ops import roi_align as align_ops
from cnnvision.ops import roi_pool as pool_ops
from cnnvision.ops.images import on_mesh, per_image
from cnnvision.ops.roi_align import level_of
from cnnvision.programs.traffic import collectives
from cnnvision.training.sharding import make_mesh
from tests.reference import roi as reference

POOL = jax.jit(pool_ops.roi_pool, static_argnums=(2, 3))
ALIGN = jax.jit(align_ops.roi_align, static_argnums=(2, 3, 4, 5))


def regions(rng, count, height, width):
    """Within the image, across its border, beyond it, larger than it; on whole and half positions; without area."""
    corners = rng.uniform(-0.3, 1.3, (count, 2, 2)) * [width, height]
    corners = np.sort(corners, axis=1)
    corners[::6] = np.round(corners[::6] / 8) * 8  # halves of a position at stride 16: rounding has ties
    corners[1::6] = np.clip(corners[1::6], 0, [width, height])
    corners[2::12, 1] = corners[2::12, 0]
    corners[3::12] += 3 * max(height, width)
    corners[4::12] = [[-2.0 * width, -height], [3.0 * width, 2.0 * height]]
    corners[5::12] = corners[5::12, ::-1]  # flipped
    return corners.reshape(count, 4).astype(np.float32)


def maps(rng, height, width, channels, ties=False):
    values = rng.integers(0, 4, (height, width, channels)) if ties else rng.normal(size=(height, width, channels))
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("height", "width", "size", "stride"), [(9, 13, 7, 16), (14, 5, 3, 16), (1, 1, 2, 8), (40, 31, 2, 10)]
)
def test_max_pooling_equals_the_reference(height, width, size, stride):
    rng = np.random.default_rng(height)
    for case in range(5):
        features = maps(rng, height, width, 3, ties=case % 2 == 0)
        boxes = regions(rng, 51, height * stride, width * stride)
        expected = [reference.roi_pool(features, box, stride, size) for box in boxes]
        found, back = jax.vjp(lambda f, boxes=boxes: POOL(f, jnp.array(boxes), stride, size), jnp.array(features))
        np.testing.assert_array_equal(found, [out for out, _ in expected])
        # Whole numbers: sums are exact in any order.
        slopes = rng.integers(-4, 5, found.shape).astype(np.float32)
        sums = np.zeros((height * width, 3))
        for (_, places), slope in zip(expected, slopes, strict=True):
            for channel in range(3):
                inside = places[..., channel] >= 0
                np.add.at(sums[:, channel], places[..., channel][inside], slope[..., channel][inside])
        np.testing.assert_array_equal(back(jnp.array(slopes))[0], sums.reshape(height, width, 3))


def test_bins_by_hand():
    """A box of 5 positions in 2 bins: ⌊0⌋ to ⌈2.5⌉ and ⌊2.5⌋ to 5: position 2 belongs to both. Both corners count."""
    features = jnp.array([[[3.0], [1.0], [9.0], [2.0], [4.0], [99.0]]])
    box = jnp.array([[0.0, 0.0, 64.0, 0.0]])  # positions 0 to 4 of stride 16
    np.testing.assert_array_equal(pool_ops.roi_pool(features, box, 16, 2)[0, 0, :, 0], [9.0, 9.0])
    shifted = box + jnp.array([[8.0, 0.0, 8.0, 0.0]])  # halves are rounded away from zero
    np.testing.assert_array_equal(pool_ops.roi_pool(features, shifted, 16, 1)[0, 0, 0, 0], 99.0)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [None, 1, 2, 3])
def test_align_equals_the_reference(samples, aligned):
    rng = np.random.default_rng(samples or 0)
    for height, width, size, stride in ((6, 9, 3, 16), (1, 4, 2, 8), (11, 7, 7, 4)):
        features, boxes = maps(rng, height, width, 2), regions(rng, 42, height * stride, width * stride)
        pairs = [reference.roi_align(features, box, stride, size, samples, aligned) for box in boxes]
        expected, unsure = (np.array(each) for each in zip(*pairs, strict=True))
        found = ALIGN(jnp.array(features), jnp.array(boxes), stride, size, samples, aligned)
        np.testing.assert_allclose(np.asarray(found)[~unsure], expected[~unsure], atol=2e-5)
        assert unsure.mean() < 0.15


@pytest.mark.parametrize("samples", [None, 2])
def test_align_is_linear_and_its_gradient_is_its_transpose(samples):
    """<A f, g> = <f, Aᵀ g> for any f and g; with A right, so is its gradient."""
    rng = np.random.default_rng(0)
    boxes = jnp.array(regions(rng, 30, 96, 128))
    run = lambda f: ALIGN(f, boxes, 16, 3, samples)
    f, other = jnp.array(maps(rng, 6, 8, 4)), jnp.array(maps(rng, 6, 8, 4))
    found, back = jax.vjp(run, f)
    np.testing.assert_allclose(run(f + 2.0 * other), found + 2.0 * run(other), atol=1e-4)
    slopes = jnp.array(rng.normal(size=found.shape).astype(np.float32))
    np.testing.assert_allclose(jnp.vdot(run(other), slopes), jnp.vdot(other, back(slopes)[0]), rtol=1e-4)


def test_where_samples_end():
    """Exactly one position outside the map still counts, as the nearest one; anything beyond does not."""
    features = jnp.full((2, 2, 1), 7.0)
    for far, expected in ((-1.0, 7.0), (-1.0078125, 0.0), (2.0, 7.0), (2.0078125, 0.0)):
        box = jnp.array([[far - 0.5, 0.0, far + 0.5, 1.0]])  # one sample, in the middle
        found = ALIGN(features, box, 1, 1, 1)[0, 0, 0, 0]
        across = ALIGN(features, box[:, jnp.array([1, 0, 3, 2])], 1, 1, 1)[0, 0, 0, 0]
        assert float(found) == float(across) == expected


def test_a_ramp_by_hand():
    """The mean of a plane over a bin is its value at the bin's middle. Aligned: position i lies at (i + 1/2) · stride."""
    ramp = jnp.broadcast_to(jnp.arange(8, dtype=jnp.float32)[None, :, None], (8, 8, 1))
    box = jnp.array([[16.0, 16.0, 48.0, 48.0]])
    np.testing.assert_allclose(ALIGN(ramp, box, 8, 2, 2, True)[0, 0, :, 0], [2.5, 4.5])
    np.testing.assert_allclose(ALIGN(ramp, box, 8, 2, 2, False)[0, 0, :, 0], [3.0, 5.0])


def test_a_pyramid_pools_each_box_from_its_level():
    rng = np.random.default_rng(0)
    features = {2**k: jnp.array(maps(rng, 512 >> k, 768 >> k, 2)) for k in (3, 4, 5)}
    boxes = jnp.array(regions(rng, 60, 512, 768))
    boxes = boxes.at[:20, 2:].set(boxes[:20, :2] + jnp.array(rng.uniform(5, 200, (20, 2)).astype(np.float32)))
    levels = np.asarray(level_of(boxes, 3, 5))
    assert set(levels) == {3, 4, 5}
    found = jax.jit(lambda f, b: align_ops.pyramid_roi_align(f, b, 7))(features, boxes)
    for level in (3, 4, 5):
        alone = ALIGN(features[2**level], boxes, 2**level, 7)
        np.testing.assert_allclose(found[levels == level], alone[levels == level], atol=1e-5)
    slopes = jax.jit(jax.grad(lambda f: align_ops.pyramid_roi_align(f, boxes, 7).sum()))(features)
    for level in (3, 4, 5):
        chosen = boxes[levels == level]
        alone = jax.grad(lambda f, stride=2**level, chosen=chosen: ALIGN(f, chosen, stride, 7).sum())
        np.testing.assert_allclose(slopes[2**level], alone(features[2**level]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 17])
def test_any_number_of_boxes(count):
    features, boxes = jnp.ones((4, 5, 2)), jnp.tile(jnp.array([[0.0, 0.0, 30.0, 30.0]]), (count, 1))
    for found in (POOL(features, boxes, 16, 3), ALIGN(features, boxes, 16, 3)):
        assert found.shape == (count, 3, 3, 2) and (np.asarray(found) == 1).all()


def test_bfloat16_stays_bfloat16():
    rng = np.random.default_rng(0)
    features, boxes = jnp.array(maps(rng, 6, 8, 4)), jnp.array(regions(rng, 12, 96, 128))
    for run in (POOL, ALIGN):
        exact, found = run(features, boxes, 16, 3), run(features.astype(jnp.bfloat16), boxes, 16, 3)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.03)
        slopes = jax.grad(lambda f, run=run: run(f, boxes, 16, 3).astype(jnp.float32).sum())(features.astype(jnp.bfloat16))
        assert slopes.dtype == jnp.bfloat16 and np.isfinite(slopes.astype(jnp.float32)).all()


@pytest.mark.parametrize("run", [POOL, ALIGN])
def test_gradients_of_many_boxes_add_up_in_bfloat16(run):
    features, boxes = jnp.ones((4, 4, 1), jnp.bfloat16), jnp.tile(jnp.array([[16.0, 16, 40, 40]]), (1000, 1))
    total = lambda f: run(f, boxes, 16, 1).astype(jnp.float32).sum()
    assert float(jax.jit(jax.grad(total))(features).astype(jnp.float32).sum()) == pytest.approx(1000, rel=1e-2)


def test_images_stay_on_their_devices():
    rng = np.random.default_rng(0)
    features = jnp.array(np.stack([maps(rng, 6, 8, 4) for _ in range(8)]))
    boxes = jnp.array(np.stack([regions(rng, 12, 96, 128) for _ in range(8)]))

    def total(features, boxes):
        pooled = per_image(lambda f, b: pool_ops.roi_pool(f, b, 16, 3), features, boxes)
        return jnp.sum(pooled**2 + per_image(lambda f, b: align_ops.roi_align(f, b, 16, 3), features, boxes) ** 2)

    slopes, mesh = jax.grad(total), make_mesh()
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    split = jax.device_put((features, boxes), rows)
    program = jax.jit(on_mesh(slopes, mesh), out_shardings=rows).lower(*split).compile()
    assert not collectives(program.as_text())
    np.testing.assert_allclose(program(*split), jax.jit(slopes)(features, boxes), rtol=1e-5, atol=1e-5)
