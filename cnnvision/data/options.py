"""`config.data`: which examples there are, what becomes of their pixels, and how batches are made and loaded."""

import dataclasses
from typing import Annotated, Literal

from cnnvision.errors import ConfigError
from cnnvision.settings import Between, Share

Factors = Annotated[tuple[float, float], Between(1e-6, 16)]
"""(least, most), between which a factor is drawn."""
Threads = Annotated[int, Between(0, 1024)]
BatchSize = Annotated[int, Between(1, 2**20)]
Side = Annotated[int, Between(1, 2**16)]

WAYS = {
    **dict.fromkeys(("crop_area", "crop_aspect", "translate"), ("stretch", "letterbox", "crop")),
    **dict.fromkeys(("zoom_out", "iou_crop"), ("stretch", "letterbox")),
    **dict.fromkeys(("zoom", "quarter_turns", "elastic"), ("tile",)),
}
"""Key of augmentation -> the ways to resize that it has a meaning for. "crop" shows the centre of a canvas, where the image
may not lie, and of a patch, whose overlap would be another."""


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Random changes of training images, drawn anew for each example and epoch; the defaults change nothing."""

    flip: Share = 0.0  # probability of mirroring left and right
    flip_vertical: Share = 0.0  # probability of mirroring top and bottom
    crop_area: Factors = (1.0, 1.0)  # area of the crop / area of the image; above 1 zooms out. Inception's: (0.08, 1)
    crop_aspect: Factors = (1.0, 1.0)  # factor on the crop's width / height, uniform on a log scale
    translate: Annotated[float, Between(0, 0.9)] = 0.0  # most shift of the crop to either side, as a share of its sides
    rotate: Annotated[float, Between(0, 180)] = 0.0  # most rotation to either side, degrees
    zoom_out: Annotated[tuple[float, float], Between(1, 16)] = (1.0, 1.0)  # sides of a canvas / sides of the image, which
    # lies at a random place in it; what else is drawn is done to the canvas. SSD's: (1, 4)
    zoom_out_probability: Share = 0.5  # of the canvas
    iou_crop: Share = 0.0  # probability of SSD's crop: the whole, or a patch that shows the centre of an object and overlaps
    # its box by an IoU of 0, 0.1, 0.3, 0.5, 0.7 or 0.9 at least. SSD's: 1
    zoom: Factors = (1.0, 1.0)  # "tile": enlargement of the window, uniform on a log scale
    quarter_turns: bool = False  # "tile": rotation by 0, 90, 180 or 270 degrees; pixels fall on pixels
    elastic: Annotated[float, Between(0, 1000)] = 0.0  # "tile": standard deviation of the displacements at the points of a
    # coarse grid, between which the image is bent smoothly, input pixels (Ronneberger et al. 2015, section 3.1: 10)
    elastic_grid: Annotated[int, Between(2, 64)] = 3  # points of that grid along each side
    brightness: Share = 0.0  # the factor on all values is drawn from 1 ± this
    contrast: Share = 0.0  # likewise, on the distance from the image's mean grey
    saturation: Share = 0.0  # likewise, on the distance from each pixel's own grey
    hue: Annotated[float, Between(0, 0.5)] = 0.0  # most rotation of hues to either side, as a share of the colour circle
    fill: Annotated[tuple[int, int, int], Between(0, 255)] = (124, 116, 104)  # RGB outside the image; ImageNet's mean
    min_visible: Share = 0.25  # an object is dropped where less than this share of its box stays; in a patch of `iou_crop`
    # it is dropped where its centre does not stay, as in SSD's paper, and this share does not count

    def __post_init__(self) -> None:
        for key in ("crop_area", "crop_aspect", "zoom_out", "zoom"):
            least, most = getattr(self, key)
            if least > most:
                raise ConfigError(f"{key} = {(least, most)}: must be (least, most)")
        if self._set("zoom_out") and self.crop_area[1] > 1:
            raise ConfigError(f"zoom_out = {self.zoom_out}: crop_area = {self.crop_area} zooms out, too; let it end at 1")
        for key in ("crop_area", "crop_aspect", "translate"):
            if self.iou_crop and self._set(key):
                value = getattr(self, key)
                raise ConfigError(f"iou_crop = {self.iou_crop}: chooses the window, and so does {key} = {value}; take one")

    def _set(self, key: str) -> bool:
        return getattr(self, key) != getattr(AugmentSettings, key)

    def check_resize(self, resize: str) -> None:
        """Raises ConfigError where a key is set that does nothing with this `resize`: it would be taken for done."""
        for key, ways in WAYS.items():
            if resize not in ways and self._set(key):
                alone = " or ".join(f'"{way}"' for way in ways)
                raise ConfigError(
                    f"config.data.augment.{key} = {getattr(self, key)!r}: is for resize {alone} alone, and"
                    f" config.data.resize is {resize!r}"
                )

    def check_target(self, target: str | None) -> None:
        """Raises ConfigError where a key is set that takes objects, and the model's target (`InputSpec`) is another."""
        if self.iou_crop and target != "objects":
            raise ConfigError(
                f"config.data.augment.iou_crop = {self.iou_crop}: cuts around the boxes that a model learns, and this one"
                " learns none; leave it at 0, and take crop_area"
            )


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """`config.data`. Batch sizes are of all devices and processes together."""

    source: str = "shapes"  # which data: docs/data.md has the strings
    train_split: str = "train"
    eval_split: str = "val"
    eval_examples: Annotated[int, Between(1, 10**9)] | None = None  # evaluate on the first ones alone; None for all
    empty: Literal["left out", "background"] = "left out"  # what images without any object are in training on objects
    size: tuple[Side, Side] = (128, 128)  # height, width of the network's input, pixels
    more_sizes: tuple[tuple[Side, Side], ...] = ()  # in training each step takes `size` or one of these, at random
    resize: Literal["stretch", "letterbox", "crop", "tile"] = "stretch"  # letterbox: pad right and bottom; crop: the
    # centre, as for ImageNet; tile: at the image's own scale
    margin: Annotated[int, Between(0, 10**6)] | None = None  # "tile": pixels at each side that are context alone; None: the
    # network's receptive field, or two of its coarsest cells where that is wider than a tile
    batch_size: BatchSize = 32
    eval_batch_size: BatchSize = 64
    threads: Threads = 2  # that read and augment ahead, in this process or in each worker; 0 loads when a batch is needed
    workers: Threads = 0  # processes that do it instead; 0 for none
    prefetch: Annotated[int, Between(1, 1024)] = 4  # batches held ready, in this process or for each worker
    cache_mb: Annotated[int, Between(0, 2**30)] = 1024  # MiB of decoded images kept in memory, here or in each worker
    augment: AugmentSettings = AugmentSettings()
