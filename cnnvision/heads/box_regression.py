"""One box an image, regressed from a whole feature map; its targets, loss and decoding.

The regressed numbers are (x, y, w, h): the top left corner and the sides of the box, as fractions of the input's width and
height. An average over the map would throw away where things are. So either the map is flattened, position by position, or
each position predicts a box, relative to where it is, and the boxes are averaged by attention: what was learned about an
object at one position then holds at every position.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnvision.ops import boxes as box_ops
from cnnvision.ops import losses

START = (0.25, 0.25, 0.5, 0.5)
"""What an untrained head predicts: the middle of the image."""


class BoxRegressionHead(nn.Module):
    """Feature map -> (x, y, w, h).

    Attributes:
        pooling: "flatten": 1×1 convolution, ReLU, flatten, hidden layers with ReLU, four linear outputs; the input size is
            fixed once the parameters are made. "attention": 3×3 convolution, ReLU, and at each position five linear
            outputs: a box relative to the position, and how much it counts (softmax over the map).
        channels: of the first convolution.
        hidden: "flatten": widths of the fully connected layers between the map and the four numbers.
        dropout: rate, before each fully connected layer ("flatten"), or of whole channels' values ("attention").
        dtype: of the computation; the output is float32.
    """

    pooling: Literal["flatten", "attention"] = "flatten"
    channels: int = 64
    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"], train: bool) -> Float[Array, "b 4"]:
        """Feature map -> (x, y, w, h) as fractions of the input, not clipped."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        start = lambda key, shape, dtype: jnp.array(START, dtype)
        last = nn.Dense(4, dtype=jnp.float32, bias_init=start, kernel_init=nn.initializers.normal(0.01), name="box")
        if self.pooling == "attention":
            x = nn.relu(nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="narrow")(features))
            x = drop(x).astype(jnp.float32)
            weight = nn.Dense(1, use_bias=False, dtype=jnp.float32, name="weight")(x)
            attention = nn.softmax(weight.reshape(weight.shape[0], -1))
            outputs = last(x) + jnp.broadcast_to(position_offsets(*features.shape[1:3])[None], (*x.shape[:3], 4))
            return jnp.sum(outputs.reshape(x.shape[0], -1, 4) * attention[..., None], axis=1)
        narrowed = nn.relu(nn.Dense(self.channels, dtype=self.dtype, name="narrow")(features))
        x = narrowed.reshape(narrowed.shape[0], -1)
        for index, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{index}")(drop(x)))
        return last(drop(x).astype(jnp.float32))


def position_offsets(rows: int, columns: int) -> Float[Array, "h w 4"]:
    """What moves a box (x, y, w, h) from the middle of the input to each position of a map: (dx, dy, 0, 0), in fractions."""
    x, y = (np.arange(columns) + 0.5) / columns - 0.5, (np.arange(rows) + 0.5) / rows - 0.5
    dy, dx = np.meshgrid(y, x, indexing="ij")
    return jnp.array(np.stack([dx, dy, np.zeros_like(dx), np.zeros_like(dx)], axis=-1), jnp.float32)


def decode(fractions: Float[Array, "b 4"], height: int, width: int) -> Float[Array, "b 4"]:
    """(x, y, w, h) as fractions of the input -> x1 y1 x2 y2 in input pixels, in order and clipped to the input."""
    boxes = box_ops.ordered(box_ops.from_fractions(fractions, height, width))
    return box_ops.clip(boxes, jnp.full(boxes.shape[:1], float(height)), jnp.full(boxes.shape[:1], float(width)))


def _giou_of_fractions(predicted: Float[Array, "b 4"], target: Float[Array, "b 4"]) -> Float[Array, "b"]:
    return losses.giou_loss(box_ops.from_fractions(predicted, 1, 1), box_ops.from_fractions(target, 1, 1))


BOX_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "mean_squared_error": losses.squared_error,
    "smooth_l1": losses.smooth_l1,
    "giou": _giou_of_fractions,
}
"""Name -> loss of each image from (predicted, target) fractions (x, y, w, h)."""
