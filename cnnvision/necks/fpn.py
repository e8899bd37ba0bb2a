"""Feature pyramid (Lin et al. 2017, "Feature pyramid networks for object detection", section 3): maps of every stride, all
of one width, each with what coarser maps know.

A 1×1 convolution brings each of the backbone's maps to the width; from the coarsest down, each is added to the one above it,
doubled by nearest neighbours; a 3×3 convolution makes the output. Coarser maps may be added: by taking every second position
of the coarsest (section 4.1's footnote: for the RPN's largest anchors), or by 3×3 convolutions of stride 2 with a ReLU
between (P6 and P7 of Lin et al. 2017, "Focal loss", section 4, from P5 as Tian et al. 2019 have it).
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnvision.backbones.layers import Conv, normal


class FeaturePyramid(nn.Module):
    """Maps by stride -> maps by stride.

    Attributes:
        width: channels of every map.
        coarser: maps that are added, each of twice the stride of the one before.
        by: "subsampling" or "convolutions": how they are made.
        dtype: of the arithmetic.
    """

    width: int = 256
    coarser: int = 1
    by: Literal["subsampling", "convolutions"] = "subsampling"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Mapping[int, Float[Array, "b _ _ _"]]) -> dict[int, Float[Array, "b _ _ c"]]:
        """Any strides, each twice the one before; sides that are no multiples of the strides work too."""
        outputs, above = {}, None
        for stride in sorted(features, reverse=True):
            image = features[stride]
            # Nothing but sums follows: a variance of one an input keeps the scale.
            lateral = self._conv(1, image.shape[-1] ** -0.5, f"lateral{stride}")(image)
            above = lateral if above is None else lateral + nearest(above, lateral.shape[1:3])
            outputs[stride] = self._conv(3, (9 * self.width) ** -0.5, f"output{stride}")(above)
        for i in range(self.coarser):
            last = outputs[max(outputs)]
            if self.by == "subsampling":
                outputs[2 * max(outputs)] = last[:, ::2, ::2]
            else:
                last = jax.nn.relu(last) if i else last
                conv = self._conv(3, (9 * self.width) ** -0.5, f"coarser{2 * max(outputs)}", stride=2)
                outputs[2 * max(outputs)] = conv(last)
        return dict(sorted(outputs.items()))

    def _conv(self, size: int, deviation: float, name: str, stride: int = 1) -> Conv:
        return Conv(self.width, size, stride, use_bias=True, dtype=self.dtype, kernel_init=normal(deviation), name=name)


def nearest(image: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b _ _ c"]:
    """Enlarges to (height, width): position i takes what lies at ⌊i · old / new⌋, torch's rule for nearest neighbours."""
    for axis, (new, old) in enumerate(zip(size, image.shape[1:3], strict=True), start=1):
        if new == 2 * old:
            image = jnp.repeat(image, 2, axis=axis)
        elif new != old:
            image = jnp.take(image, np.arange(new) * old // new, axis=axis)
    return image
