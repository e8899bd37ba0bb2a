"""U-Net (Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation").

Section 2. A contracting path (backbones/contracting_path.py: pairs of 3×3 convolutions, 2×2 max-pooling, channels doubled
at each step) and an expanding path (necks/decoder.py: up-convolutions 2×2 that halve the channels, concatenation with the
cropped features of the same level, pairs of 3×3 convolutions), then a 1×1 convolution to the classes. With width 64, depth
4, no padding and no norm it is the paper's network: 31.0 million parameters, 572×572 pixels in, 388×388 out.

"Overlap-tile" (figure 2): config.data.resize = "tile"; the image is extended by mirroring. Section 3: weights that make
thin borders between touching cells count (config.model.loss.border_w0, border_sigma), He's initialisation. Section 3.1:
elastic deformation by displacements on a 3×3 grid (config.data.augment.elastic), dropout at the end of the contracting
path. Section 4: predictions averaged over rotations (config.model.tta).

Any backbone can be the contracting path: its features of each stride are then the skips, and the input's own resolution is
reached by one more up-convolution without a skip; or the expanding path ends earlier, and the logits are enlarged by
bilinear interpolation (Long et al. 2015, "Fully convolutional networks for semantic segmentation", section 4).

Deviations: colour images, so three input channels; the weight map has no class balance (class weights are a key of their
own) and weighs the background between cells only; the loss is divided by the sum of the weights, not left a sum, so that
the learning rate means the same for any crop; AdamW or Muon in place of momentum 0.99 with one image a batch; `padding`
"same" and BatchNorm are the defaults of our configs.
"""

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones import Backbone, make_backbone
from cnnvision.backbones.contracting_path import ContractingPath
from cnnvision.errors import ConfigError
from cnnvision.heads.segmentation import SegmentationHead
from cnnvision.inputs import InputSpec
from cnnvision.models.binding import named_sizes, trainable_with
from cnnvision.models.pixels import PixelSettings, of_whole_images, pixel_inputs, pixel_task
from cnnvision.necks.decoder import Decoder, DecoderSettings, enlarged, last_stride, level_widths
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import read
from cnnvision.task import DataInfo, Task


@dataclasses.dataclass(frozen=True)
class Settings(PixelSettings):
    """`config.model`."""

    name: str = "unet"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # "contracting_path" for the paper's, or any other
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    skips: bool = True
    decoder: DecoderSettings = DecoderSettings()


class UNet(nn.Module):
    """Attributes: backbone: the contracting path; decoder: the expanding path; head: the 1×1 convolution."""

    backbone: Backbone
    decoder: Decoder
    head: SegmentationHead

    def __call__(self, image: Float[Array, "b h w 3"], valid: Bool[Array, "b"], train: bool) -> Float[Array, "b _ _ k"]:
        """Normalised images -> logits, of the input's size, or of its centre where padding is "valid"."""
        features = self.backbone(image, train, valid)
        logits = self.head(self.decoder(features, train, valid))
        return enlarged(logits, last_stride(features, self.decoder.widths))


def output_side(side: int, depth: int) -> int:
    """Side of the paper's network's output for `side` pixels of input (figure 1: 572 -> 388 at depth 4).

    Raises:
        ValueError: a max-pooling meets an odd side, or nothing is left.
    """
    for _ in range(depth):
        side -= 4
        if side < 2 or side % 2:
            raise ValueError(f"a map of {side} pixels a side cannot be pooled 2×2")
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    if side < 1:
        raise ValueError("no pixel is left")
    return side


def fitting_side(side: int, depth: int) -> int:
    """The input side nearest to `side` that the network without padding takes, with an output of 2^depth pixels or more."""
    fits = []
    for candidate in range(1, side + 16 * 2**depth):
        try:
            output = output_side(candidate, depth)
        except ValueError:
            continue
        fits += [candidate] if output >= 2**depth else []
    return min(fits, key=lambda candidate: abs(candidate - side))


def reach(depth: int, bilinear: bool = False) -> int:
    """Largest distance, pixels, from a logit to an input pixel that it depends on, of all positions in the grid of the
    poolings: 107 at depth 4. Each position's range is followed from the logit back to the image.
    """
    furthest = 0
    for pixel in range(2**depth):
        low = high = pixel
        for _ in range(depth):
            low, high = low - 2, high + 2  # the pair of convolutions of this level
            low, high = ((low - 1) // 2, (high + 1) // 2) if bilinear else (low // 2, high // 2)
        for _ in range(depth):
            low, high = 2 * (low - 2), 2 * (high + 2) + 1
        furthest = max(furthest, pixel - (low - 2), high + 2 - pixel)
    return furthest


def _inputs(config: Any, settings: Settings, info: DataInfo, backbone: Backbone) -> InputSpec:
    stride = max(backbone.strides)
    if not isinstance(backbone, ContractingPath):
        # A rule of thumb: other backbones' receptive fields are not computed.
        return pixel_inputs(config.data, settings, info, reach=2 * stride, stride=stride)
    bilinear = settings.decoder.upsampling == "bilinear"
    if backbone.padding == "same":
        return pixel_inputs(config.data, settings, info, reach=reach(backbone.depth, bilinear), stride=stride)
    for key, size in named_sizes(config.data):
        try:
            lost = {side - output_side(side, backbone.depth) for side in size}
        except ValueError as error:
            near = tuple(fitting_side(side, backbone.depth) for side in size)
            raise ConfigError(f"{key}: {size} does not fit a U-Net without padding: {error}; e.g. {near}") from error
    # Bilinear upsampling repeats a map's edge: the outer 2^depth − 1 outputs depend on it, and tiles overlap by as many.
    # What is lost does not depend on the side.
    margin, lost = stride - 1 if bilinear else 0, lost.pop() // 2
    return pixel_inputs(config.data, settings, info, reach=margin, stride=stride, lost=lost)


def make_task(config: Any, info: DataInfo) -> Task:
    """U-Net as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size, resize and margin.
        info: the semantic classes.
    """
    settings = read(Settings, config.model, "config.model")
    backbone = make_backbone(**settings.backbone)
    inputs = _inputs(config, settings, info, backbone)
    valid_padding = isinstance(backbone, ContractingPath) and backbone.padding == "valid"
    widths = level_widths(settings.decoder.widths, backbone.channels)
    if isinstance(backbone, ContractingPath) and last_stride(backbone.strides, widths) > 1:
        raise ConfigError(
            f"config.model.decoder.widths = {widths}: the contracting path needs a width for each of its levels; take None "
            f"for the defaults, or {backbone.depth} widths"
        )
    decoder = Decoder(
        widths=widths,
        upsampling=settings.decoder.upsampling,
        skips=settings.skips,
        normalized=isinstance(backbone, ContractingPath),
        padding="VALID" if valid_padding else "torch",
        norm=settings.decoder.norm,
        dtype=backbone.dtype,
    )
    network = UNet(backbone, decoder, SegmentationHead(len(info.semantic_classes)))
    start = partial(load_pretrained, settings.pretrained, settings.backbone["name"])
    functions = of_whole_images(network, backbone)
    return pixel_task(settings, info, inputs, functions, warm_start=start, trainable=trainable_with(backbone))
