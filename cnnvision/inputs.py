"""What a task asks of the pipeline: `InputSpec`, and the proposals and weight maps that it may want in a batch."""

import dataclasses
from typing import Annotated, Literal

from cnnvision.errors import ConfigError
from cnnvision.settings import Between, Count


@dataclasses.dataclass(frozen=True)
class BorderWeights:
    """The weight map of Ronneberger et al. 2015, equation 2, without its class balance: 1 + w0 · exp(−(d1 + d2)² / 2σ²).

    Attributes:
        w0: weight on top of 1 where two cells touch.
        sigma: how fast it falls with the distances to the two nearest cells, pixels.
        background: class id of what parts the cells.
    """

    w0: float
    sigma: float
    background: int


@dataclasses.dataclass(frozen=True)
class ProposalSpec:
    """Boxes where an object may be, made from the image alone, ahead of the network (data/wrappers/proposals.py)."""

    method: Literal["selective_search", "random", "sliding"]  # "random": of any position and size; "sliding": a regular grid
    most: Count  # of an image; the first in their order are taken
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0  # of the order of selective search's, and of random boxes
    quality: bool = False  # selective search's slower, more thorough mode
    # Selective search: images with a shorter side than this are enlarged by a whole factor, the longer side to four times
    # this at most, pixels.
    least_side: Annotated[int, Between(1, 10**4)] = 256
    # Square roots of areas as shares of the image's; "random": (least, most), "sliding": all.
    scales: Annotated[tuple[float, ...], Between(0.001, 1)] = (0.1, 1.0)
    ratios: Annotated[tuple[float, ...], Between(0.001, 100)] = (0.5, 2.0)  # height / width; likewise
    step: Annotated[float, Between(0.01, 1)] = 0.25  # "sliding": distance of neighbours, as a share of their sides

    def __post_init__(self):
        for name in ("scales", "ratios"):
            values = getattr(self, name)
            if not values or (self.method == "random" and (len(values) != 2 or values[0] > values[1])):
                raise ConfigError(f'{name} = {values!r}: must have one at least; (least, most) where the method is "random"')


MASKS_CURE = "Give each object of coco:DIR a segmentation, or take instances:DIR or shapes."
"""Where objects have no masks, and a model learns or is judged by them."""


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the pipeline must put into a batch.

    Attributes:
        sizes: the declared (height, width) of inputs, pixels: one program is compiled for each. Evaluation and prediction
            take the first; a training step takes any of them, by seed and step.
        target: which target struct to fill; None for none (images alone, to predict on).
        resize: how an image is brought to an input size. "stretch": both sides, aspect ratio lost. "letterbox": the longer
            side, the rest padded. "crop": the shorter side, then the centre `crop_fraction` of it (ImageNet's way).
            "tile": not resized; training sees random windows, evaluation overlapping tiles with mirrored borders.
        crop_fraction: for "crop" only.
        objects: which objects a batch holds: "all" (up to `max_objects`) or the "largest" alone.
        max_objects: rows of an ObjectTarget; further objects are dropped and counted.
        mask_side: side of instance masks, 0 for none.
        multiple_of: every size must be a multiple of this (the network's largest stride).
        margin: for "tile": pixels at each side of a tile that are seen, but not predicted.
        lost: for "tile": border pixels per side that unpadded convolutions lose. Training windows extend this far beyond the
            (mirrored) image, so that its border is trained on, too.
        tile_step: for "tile": tiles lie at distances that are a multiple of this, so that all pool the same pixels together.
        border: weights of a SemanticTarget; None for none.
        proposals: what a batch's proposals are; None for none.
    """

    sizes: tuple[tuple[int, int], ...]
    target: Literal["class", "objects", "semantic"] | None
    resize: Literal["stretch", "letterbox", "crop", "tile"] = "stretch"
    crop_fraction: float = 0.875
    objects: Literal["all", "largest"] = "all"
    max_objects: int = 1
    mask_side: int = 0
    multiple_of: int = 1
    margin: int = 0
    lost: int = 0
    tile_step: int = 1
    border: BorderWeights | None = None
    proposals: ProposalSpec | None = None

    def __post_init__(self):
        if self.resize == "tile" and self.target not in ("semantic", None):
            raise ConfigError('config.data.resize: "tile" is for semantic segmentation; take "stretch" or "letterbox"')
