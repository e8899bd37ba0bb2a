"""The parts that Fast and Faster R-CNN have in common, made from a config: features, what is pooled from them, the head."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args, get_type_hints

import jax

from cnnvision.backbones import Backbone
from cnnvision.errors import ConfigError, check_name, check_range, check_whole
from cnnvision.heads.box_head import POOLINGS, BoxHead, find, pool_regions
from cnnvision.models.binding import input_sizes
from cnnvision.necks.fpn import FeaturePyramid
from cnnvision.ops.per_image import per_image
from cnnvision.task import InputSpec, ProposalSpec
from cnnvision.types import Array, DetectionPrediction

NECKS = ("none", "fpn")
METHODS = get_args(get_type_hints(ProposalSpec)["method"])

DRAWN = ("number", "share", "positive_from", "negative_below")
"""Keys that say how a sample of boxes is drawn, in `config.model.rpn` and `config.model.regions`."""

Pool = Callable[[Mapping[int, Array], Array], Array]
"""(one image's maps by stride, boxes [r, 4]) -> what the head sees of each, [r, s, s, c]."""


def check_regions(model: Any, known_strides: Sequence[int]) -> tuple[int, ...]:
    """The strides that `config.model` names.

    Raises:
        ConfigError: for what of neck, regions and detections no network can be made of.
    """
    check_name("config.model.neck", model.neck, NECKS)
    check_name("config.model.regions.pooling", model.regions.pooling, POOLINGS)
    strides = tuple(model.strides)
    for stride in strides:
        check_name("config.model.strides", stride, known_strides)
    if model.neck == "none" and len(strides) != 1:
        raise ConfigError(f"config.model.strides = {strides}: without a neck there must be one")
    if not strides:
        raise ConfigError(f"config.model.strides = {strides}: a pyramid needs one at least")
    if model.neck == "fpn" and list(strides) != [min(strides) * 2**i for i in range(len(strides))]:
        raise ConfigError(f"config.model.strides = {strides}: a pyramid needs each to be twice the one before")
    if model.neck == "fpn" and model.regions.pooling == "max":
        raise ConfigError('config.model.regions.pooling: a pyramid is pooled by "align" alone')
    check_range("config.model.regions.dropout", model.regions.dropout, 0, 0.99)
    check_range("config.model.regions.canonical", model.regions.canonical, 1, 10**6)
    check_range("config.model.regions.beta", model.regions.beta, 1e-6, 10**6, "where smooth L1 bends")
    check_whole("config.model.regions.size", model.regions.size, 1, 64)
    check_whole("config.model.regions.samples", model.regions.samples, 0, 64)
    check_whole("config.model.width", model.width, 1, 10**5)
    for width in model.regions.hidden:
        check_whole("config.model.regions.hidden", width, 1, 10**6)
    check_range("config.model.lambda_box", model.lambda_box, 0, 10**6)
    check_sampling(model)
    return strides


def check_sampling(model: Any) -> None:
    """Raises ConfigError for values by which no regions can be drawn, or no detections found."""
    for name in ("share", "positive_from", "negative_below"):
        check_range(f"config.model.regions.{name}", model.regions[name], 0, 1)
    for name in ("threshold", "score_above"):
        check_range(f"config.model.detections.{name}", model.detections[name], 0, 1)
    check_whole("config.model.max_objects", model.max_objects, 1, 10**6)
    check_whole("config.model.regions.number", model.regions.number, 1, 10**6)
    check_whole("config.model.detections.most", model.detections.most, 1, 10**6)
    check_range("config.model.regions.negative_from", model.regions.negative_from, 0, model.regions.negative_below)


def check_proposals(settings: Any) -> ProposalSpec:
    """`config.model.proposals` of a network that does not make its own; ConfigError for what cannot be used."""
    where = "config.model.proposals"
    check_name(f"{where}.method", settings.method, METHODS)
    for name, most in (("most", 10**6), ("least_side", 10**4)):
        check_whole(f"{where}.{name}", settings[name], 1, most)
    check_range(f"{where}.seed", settings.seed, 0, 2**31 - 1)
    check_range(f"{where}.step", settings.step, 0.01, 1)
    for name, most in (("scales", 1.0), ("ratios", 100.0)):
        check_numbers(f"{where}.{name}", settings[name], 0.001, most)
        if settings.method == "random" and (len(settings[name]) != 2 or settings[name][0] > settings[name][1]):
            raise ConfigError(f'{where}.{name}: {settings[name]!r} must be (least, most) where the method is "random"')
    plain = {name: tuple(map(float, settings[name])) for name in ("scales", "ratios")}
    return ProposalSpec(**{**settings.to_dict(), **plain})


def check_numbers(key: str, values: Any, least: float | int, most: float | int) -> None:
    """Raises ConfigError where `values` is not a tuple of numbers in [least, most], one at least."""
    if not isinstance(values, tuple | list) or not values or not all(type(value) in (int, float) for value in values):
        raise ConfigError(f"{key}: {values!r} must be a tuple of numbers, one at least")
    for value in values:
        check_range(key, value, least, most)


def neck_of(model: Any, backbone: Backbone, coarser: bool) -> FeaturePyramid | None:
    """The pyramid, or None where one map of the backbone is used as it is."""
    return FeaturePyramid(model.width, coarser, dtype=backbone.dtype) if model.neck == "fpn" else None


def head_of(model: Any, classes: int, backbone: Backbone) -> BoxHead:
    """Fast R-CNN's head."""
    return BoxHead(classes, tuple(model.regions.hidden), model.regions.dropout, dtype=backbone.dtype)


def pool_of(model: Any) -> Pool:
    """RoI max pooling or RoIAlign."""
    chosen = {name: model.regions[name] for name in ("pooling", "size", "samples")}
    return partial(pool_regions, **chosen, canonical=float(model.regions.canonical))


def maps_of(
    features: Mapping[int, Array], strides: Sequence[int], neck: FeaturePyramid | None
) -> tuple[dict[int, Array], dict[int, Array]]:
    """(all maps by stride, those that regions are pooled from): of a pyramid with a coarser map, all but that one."""
    maps = {stride: features[stride] for stride in strides}
    maps = maps if neck is None else neck(maps)
    return maps, {stride: maps[stride] for stride in strides}


def sampling_of(model: Any) -> dict[str, Any]:
    """Arguments of `sample_regions`."""
    return {name: model.regions[name] for name in (*DRAWN, "negative_from")}


def object_inputs(config: Any, strides: Sequence[int], proposals: ProposalSpec | None = None) -> InputSpec:
    """All objects of each image."""
    return InputSpec(
        sizes=input_sizes(config),
        target="objects",
        resize=config.data.resize,
        objects="all",
        max_objects=config.model.max_objects,
        multiple_of=max(strides),
        proposals=proposals,
    )


def find_all(model: Any, logits: Array, deltas: Array, boxes: Array, valid: Array, size: Array) -> DetectionPrediction:
    """`find` for each image of a batch."""
    return per_image(partial(find, **model.detections), logits, deltas, boxes, valid, size)


def keys_of_images(key: jax.Array, parts: int, count: int) -> list[jax.Array]:
    """So many lists of one key for each image, and one more key for all."""
    keys = jax.random.split(key, parts + 1)
    return [*(jax.random.split(each, count) for each in keys[:parts]), keys[parts]]
