"""What Mask R-CNN learns of a region (He et al. 2017, section 3, "Mask Representation"): its object's mask within it.

A batch holds each object's mask cropped to its own box (rounded outwards to whole pixels), in m × m cells. A pixel of the
image has the value of the cell that its centre lies in, and 0 outside the box; of these pixels, the target of a region is
its RoIAlign, with as many samples in each bin as it has pixels, as torchvision computes it of the whole mask. Rows and
columns separate, so a target is a product of three small matrices.

torchvision's RoIAlign takes the number of a pixel for its place, and so moves the mask by half a pixel of the input; the
"exact" one (Detectron2's `aligned`) has the centre of pixel 0 at .5. The rule belongs to that of pasting
(evaluation/pasting.py): of small objects a half pixel is much.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cnnvision.ops.division import by_whole
from cnnvision.ops.roi_align import bin_sample
from cnnvision.types import Alignment


def mask_targets(
    masks: Bool[Array, "n m m"],
    boxes: Float[Array, "n 4"],
    object: Int[Array, "r"],
    regions: Float[Array, "r 4"],
    image: Int[Array, "2"],
    size: int,
    most: int,
    alignment: Alignment = "torchvision",
) -> Float[Array, "r s s"]:
    """The target of each region, 0 to 1.

    Args:
        masks: of the image's objects, each cropped to the whole pixels that its box touches.
        boxes: of the objects, x1 y1 x2 y2.
        object: of each region, the object that it stands for.
        regions: x1 y1 x2 y2, pixels of the same image.
        image: (height, width) of the image; what lies beyond its rim has the value of the rim for one pixel, then 0.
        size: s, bins along each side of a region.
        most: pixels that a bin of the largest region is long, rounded up.
        alignment: see above.
    """
    regions = regions - (0.5 if alignment == "exact" else 0.0)
    own = jnp.concatenate([jnp.floor(boxes[:, :2]), jnp.ceil(boxes[:, 2:])], axis=1)[object]
    rows, columns = (
        _cells_of_bins(regions[:, i], regions[:, i + 2], own[:, i], own[:, i + 2], image[1 - i], masks.shape[1], size, most)
        for i in (1, 0)
    )
    return jnp.einsum("rim,rmk,rjk->rij", rows, masks[object].astype(jnp.float32), columns, precision="highest")


def _cells_of_bins(
    start: Float[Array, "r"],
    stop: Float[Array, "r"],
    first: Float[Array, "r"],
    last: Float[Array, "r"],
    limit: Int[Array, ""],
    cells: int,
    size: int,
    most: int,
) -> Float[Array, "r s m"]:
    """Along one axis, the share that each of the cells from `first` to `last` has in each bin from `start` to `stop`."""
    side, rows = jnp.maximum(stop - start, 1.0), jnp.full(len(start), limit)
    count = jnp.ceil(by_whole(side, size)).astype(jnp.int32)
    length, numbers = (last - first)[:, None], jnp.arange(cells, dtype=jnp.float32)[None, None]

    def add(i: int | jax.Array, shares: jax.Array) -> jax.Array:
        for pixel, weight in bin_sample(start, side, rows, count, i, size):
            cell = jnp.floor((pixel.astype(jnp.float32) + 0.5 - first[:, None]) * (cells / length))
            shares += jnp.where(cell[..., None] == numbers, weight[..., None], 0.0)
        return shares

    nothing = jnp.zeros((len(start), size, cells), jnp.float32) + 0.0 * start[:, None, None]  # varies over devices, too
    return lax.fori_loop(0, most, add, nothing)
