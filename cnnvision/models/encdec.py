"""Semantic segmentation by an encoder and a decoder, without skips (Noh, Hong and Han 2015, "Learning deconvolution
network for semantic segmentation", in its plainest form).

The encoder, any backbone, halves width and height until few positions are left that each see much; the decoder brings them
back by transposed convolutions, each halving answered by a doubling. What lies finer than the encoder's last stride can only
come back as far as its channels remember it: the gap that U-Net's skips close.

Deviations: Noh et al. unpool with the places of the maxima, and train in two stages on object proposals; here the doubling
is a transposed convolution 2×2 followed by two 3×3 convolutions, as in U-Net, so that the skips are all that differs. Fewer
doublings than halvings are allowed: the logits are then enlarged by bilinear interpolation.
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Bool, Float

from cnnvision.backbones import Backbone, make_backbone
from cnnvision.backbones.contracting_path import ContractingPath
from cnnvision.errors import ConfigError, check_name
from cnnvision.evaluation.segmentation import SegmentationEvaluator
from cnnvision.heads.segmentation import (
    SegmentationHead,
    background_of,
    predict_labels,
    segmentation_metrics,
    segmentation_terms,
)
from cnnvision.models.binding import bind, normalized, trainable_with
from cnnvision.models.pixel_inputs import pixel_inputs
from cnnvision.necks.decoder import UPSAMPLINGS, Decoder, enlarged, last_stride, level_widths
from cnnvision.pretrained.start import warm_start
from cnnvision.task import DataInfo, Loss, LossAux, Task


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
        config: `model` holds backbone, pretrained, decoder (widths, upsampling, norm), loss, tta; `data` holds size, fit
            and margin.
        info: the semantic classes.
    """
    model = config.model
    backbone = make_backbone(**model.backbone)
    if isinstance(backbone, ContractingPath) and backbone.padding != "same":
        raise ConfigError(
            f"config.model.backbone.padding = {backbone.padding!r}: this model answers for every pixel of its input, so its "
            "maps must keep their size; take 'same', or the model 'unet'"
        )
    stride = max(backbone.strides)
    check_name("config.model.decoder.upsampling", model.decoder.upsampling, UPSAMPLINGS)
    # How far a deep backbone sees is more than any tile, so tiles are never exactly the whole image; two cells are a choice.
    inputs = pixel_inputs(config, info, reach=2 * stride, stride=stride)
    decoder = Decoder(
        widths=level_widths(model.decoder.widths, backbone.channels),
        upsampling=model.decoder.upsampling,
        skips=False,
        normalized=False,
        norm=check_name("config.model.decoder.norm", model.decoder.norm, ("batch", "group", "none")),
        dtype=backbone.dtype,
    )
    network = EncoderDecoder(backbone, decoder, SegmentationHead(len(info.semantic_classes)))
    arguments = normalized(backbone)
    init, apply = bind(network, arguments)

    def loss(params, model_state, batch, key, train):
        logits, model_state = apply(params, model_state, *arguments(batch), key=key, train=train)
        terms = segmentation_terms(model.loss, logits, batch.target, batch.valid)
        L = sum((model.loss[name] * term for name, term in terms.items()), start=Loss(()))
        return L, LossAux(model_state, segmentation_metrics(terms, logits, batch.target, batch.valid))

    def predict(params, model_state, batch):
        image, valid = arguments(batch)
        return predict_labels(lambda image: apply(params, model_state, image, valid)[0], image, model.tta)

    return Task(
        inputs=inputs,
        init=init,
        warm_start=warm_start(model.pretrained, model.backbone.name),
        trainable=trainable_with(backbone),
        loss=loss,
        predict=predict,
        evaluator=lambda: SegmentationEvaluator(info.semantic_classes, background_of(model.loss, info)),
        best=("mean_iou", "max"),
    )
