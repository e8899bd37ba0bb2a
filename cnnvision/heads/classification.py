"""One class an image, from a whole feature map; its loss and its metric."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cnnvision.ops import losses
from cnnvision.task import Mean


class ClassificationHead(nn.Module):
    """Pooling, hidden layers with ReLU and dropout, one linear layer.

    Attributes:
        classes: number of logits.
        pooling: "average": the mean over all positions (ResNet, EfficientNet). "flatten": every position keeps its own
            weights (VGG), so the input size is fixed once the parameters are made. "attention": a mean that the features
            themselves weigh, by a linear layer and a softmax over the positions.
        hidden: widths of the fully connected layers before the last one; VGG has (4096, 4096).
        dropout: rate, before the last layer where there are no hidden ones, else after each hidden one.
        dtype: of the computation; logits are float32.
    """

    classes: int
    pooling: Literal["average", "flatten", "attention"] = "average"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def __call__(self, features: Float[Array, "b h w c"], train: bool) -> Float[Array, "b k"]:
        """Feature map -> logits [b, classes]."""
        return self.with_hidden(features, train)[0]

    @nn.compact
    def with_hidden(self, features: Float[Array, "b h w c"], train: bool) -> tuple[Float[Array, "b k"], Float[Array, "b d"]]:
        """Feature map -> logits [b, classes], and what the last layer sees [b, d]."""
        if self.pooling == "average":
            x = jnp.mean(features.astype(jnp.float32), axis=(1, 2))
        elif self.pooling == "attention":
            x = features.reshape(features.shape[0], -1, features.shape[-1]).astype(jnp.float32)
            weight = nn.Dense(1, use_bias=False, dtype=jnp.float32, name="weight")(x)
            x = jnp.sum(x * nn.softmax(weight, axis=1), axis=1)
        else:
            x = features.reshape(features.shape[0], -1)
        drop = lambda x: nn.Dropout(self.dropout, deterministic=not train)(x)
        for index, width in enumerate(self.hidden):
            x = drop(nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{index}")(x)))
        x = x if self.hidden else drop(x)
        x = x.astype(jnp.float32)
        return nn.Dense(self.classes, dtype=jnp.float32, name="class")(x), x


def class_loss(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], valid: Bool[Array, "b"], smoothing: float = 0.0
) -> Mean:
    """Cross entropy (nats) over the valid images; `smoothing` as in `losses.cross_entropy`."""
    return Mean.of(losses.cross_entropy(logits, labels, smoothing), valid)


def accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"], valid: Bool[Array, "b"]) -> Mean:
    """Share of the valid images whose largest logit is that of their class."""
    return Mean.of(jnp.argmax(logits, axis=-1) == labels, valid)
