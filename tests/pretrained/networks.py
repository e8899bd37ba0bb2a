"""A backbone with a classification head, as the tests of pretrained weights want it."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from cnnvision.backbones import make_backbone
from cnnvision.heads.classification import ClassificationHead


@cache
def modules(
    name: str, classes: int = 1000, hidden: tuple[int, ...] = (8, 6), **options: Any
) -> tuple[Any, ClassificationHead]:
    """(backbone, head); `hidden` is for VGG, whose head has such layers and reads its map position by position."""
    head = ClassificationHead(classes, "flatten", hidden) if name.startswith("vgg") else ClassificationHead(classes)
    return make_backbone(name, **options), head


@cache
def shapes(
    name: str, classes: int = 1000, hidden: tuple[int, ...] = (8, 6), **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(params, model_state) of the network for inputs of 224 × 224, without their values."""
    backbone, head = modules(name, classes, hidden, **options)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)

    def init(image: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
        key = jax.random.key(0)
        features, variables = backbone.init_with_output(key, image, False)
        params = {"backbone": variables["params"], "head": head.init(key, features[32], False)["params"]}
        return params, {"batch_stats": {"backbone": variables["batch_stats"]}} if "batch_stats" in variables else {}

    return jax.eval_shape(init, image)


@cache
def logits(name: str, hidden: tuple[int, ...] = (8, 6), **options: Any) -> Callable[[Any, Any, jax.Array], jax.Array]:
    """The compiled network in evaluation: (params, model_state, normalised image [b, 224, 224, 3]) -> logits [b, 1000]."""
    backbone, head = modules(name, hidden=hidden, **options)

    @jax.jit
    def run(params: Any, model_state: Any, image: jax.Array) -> jax.Array:
        statistics = {name: trees["backbone"] for name, trees in model_state.items()}
        features = backbone.apply({"params": params["backbone"], **statistics}, image, False)
        return head.apply({"params": params["head"]}, features[32], False)

    return run
