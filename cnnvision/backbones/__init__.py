"""Backbones by name. Each is a linen module from a normalised image to a dict of feature maps by stride.

Use:
    backbone = make_backbone("resnet50", norm="frozen", frozen_stages=2)
    features = backbone.apply({"params": params, "batch_stats": statistics}, image, train=False)
    features[16]  # [b, h / 16, w / 16, backbone.channels[16]]
"""

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jax.numpy as jnp

from cnnvision.backbones.contracting_path import ContractingPath
from cnnvision.backbones.darknet import DarknetV1
from cnnvision.backbones.efficientnet_lite import EfficientNetLite0
from cnnvision.backbones.layers import Backbone
from cnnvision.backbones.resnet import ResNet
from cnnvision.backbones.small import SmallNet
from cnnvision.backbones.vgg import VGG16, VGG16BN, VGG16Dilated
from cnnvision.errors import ConfigError
from cnnvision.settings import Dtype, check_name, checked

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "small": SmallNet,
    "contracting_path": ContractingPath,
    "resnet18": partial(ResNet, depth=18),
    "resnet34": partial(ResNet, depth=34),
    "resnet50": partial(ResNet, depth=50),
    "resnet101": partial(ResNet, depth=101),
    "vgg16": VGG16,
    "vgg16_bn": VGG16BN,
    "vgg16_dilated": VGG16Dilated,
    "efficientnet_lite0": EfficientNetLite0,
    "darknet_v1": DarknetV1,
}
"""Name -> constructor of the backbone, which takes the options of its class."""


SECTION = "config.model.backbone"
"""Where a config has what `make_backbone` is called with."""


def make_backbone(name: str = "", **options: Any) -> Backbone:
    """The backbone `name` with the given options (the attributes of its class, such as norm, dtype, frozen_stages).

    Raises:
        ConfigError: an unknown name, option or value; it names the key, as of `config.model.backbone`, and the known ones.
    """
    make = BACKBONES[check_name(f"{SECTION}.name", name, BACKBONES)]
    fixed = make.keywords if isinstance(make, partial) else {}
    kind = make.func if isinstance(make, partial) else make
    options = checked(kind, options, SECTION, without=("parent", "name", *fixed))
    if isinstance(options.get("dtype"), str | None) and "dtype" in options:
        options["dtype"] = getattr(jnp, check_name(f"{SECTION}.dtype", options["dtype"], get_args(Dtype)))
    try:
        return make(**options)
    except ConfigError as error:  # it begins with the option
        raise ConfigError(f"{SECTION}.{error}") from error
