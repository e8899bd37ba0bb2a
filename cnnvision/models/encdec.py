"""Semantic segmentation by an encoder and a decoder, without skips (Noh, Hong and Han 2015, "Learning deconvolution
network for semantic segmentation", in its plainest form).

The encoder, any backbone, halves width and height until few positions are left that each see much; the decoder brings them
back by transposed convolutions, a doubling for each halving. What lies finer than the encoder's last stride can only
come back as far as its channels remember it: the gap that U-Net's skips close.

Deviations: Noh et al. unpool with the indices of the maxima, and train in two stages on object proposals; here the doubling
is a transposed convolution 2×2 followed by two 3×3 convolutions, as in U-Net, so that the skips are all that differs. Fewer
doublings than halvings are allowed: the logits are then enlarged by bilinear interpolation.
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
from cnnvision.models.binding import trainable_with
from cnnvision.models.pixels import PixelSettings, of_whole_images, pixel_inputs, pixel_task
from cnnvision.necks.decoder import Decoder, DecoderSettings, enlarged, last_stride, level_widths
from cnnvision.pretrained.start import load_pretrained
from cnnvision.settings import read
from cnnvision.task import DataInfo, Task


@dataclasses.dataclass(frozen=True)
class Settings(PixelSettings):
    """`config.model`."""

    name: str = "encdec"
    backbone: dict[str, Any] = dataclasses.field(default_factory=dict)  # name and options (cnnvision/backbones)
    pretrained: str | None = None  # "imagenet", a file of weights, or the folder of a run
    decoder: DecoderSettings = DecoderSettings()


class EncoderDecoder(nn.Module):
    """Attributes: backbone: the encoder; decoder: from its last map upwards, without skips; head."""

    backbone: Backbone
    decoder: Decoder
    head: SegmentationHead

    def __call__(self, image: Float[Array, "b h w 3"], valid: Bool[Array, "b"], train: bool) -> Float[Array, "b h w k"]:
        """Normalised images -> logits."""
        features = self.backbone(image, train, valid)
        last = {max(features): features[max(features)]}
        return enlarged(self.head(self.decoder(last, train, valid)), last_stride(last, self.decoder.widths))


def make_task(config: Any, info: DataInfo) -> Task:
    """The encoder–decoder as the training loop sees it.

    Args:
        config: `model` holds `Settings`; `data` holds size, resize and margin.
        info: the semantic classes.
    """
    settings = read(Settings, config.model, "config.model")
    backbone = make_backbone(**settings.backbone)
    if isinstance(backbone, ContractingPath) and backbone.padding != "same":
        raise ConfigError(
            f"config.model.backbone.padding = {backbone.padding!r}: this model has logits for every pixel of its input, so "
            "its maps must keep their size; take 'same', or the model 'unet'"
        )
    stride = max(backbone.strides)
    # The receptive field of a deep backbone is larger than any tile, so tiles are never exactly the whole image; two cells
    # are a choice.
    inputs = pixel_inputs(config.data, settings, info, reach=2 * stride, stride=stride)
    decoder = Decoder(
        widths=level_widths(settings.decoder.widths, backbone.channels),
        upsampling=settings.decoder.upsampling,
        skips=False,
        normalized=False,
        norm=settings.decoder.norm,
        dtype=backbone.dtype,
    )
    network = EncoderDecoder(backbone, decoder, SegmentationHead(len(info.semantic_classes)))
    start = partial(load_pretrained, settings.pretrained, settings.backbone["name"])
    functions = of_whole_images(network, backbone)
    return pixel_task(settings, info, inputs, functions, warm_start=start, trainable=trainable_with(backbone))
