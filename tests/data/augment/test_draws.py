"""data/augment/__init__.py: what a run drew stays what it draws, bit for bit, when options are added.

A run goes on from its checkpoint with the augmentation that it began with, and its figures can be had again. The numbers
were drawn by the version before canvases and patches were added (zoom_out, iou_crop): they say that draws are as they were,
not that they are right, which the other tests of this folder say.
"""

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.data.augment import sample
from cnnvision.data.options import AugmentSettings
from tests.data.drawn import spec_of

OPTIONS = {
    "colours": AugmentSettings(flip=0.5, flip_vertical=0.5, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1),
    "crop": AugmentSettings(flip=0.5, crop_area=(0.08, 1.0), crop_aspect=(0.75, 1.3333)),
    "zoom": AugmentSettings(crop_area=(0.6, 4.0), translate=0.2, rotate=15.0),
    "keep": AugmentSettings(crop_area=(0.1, 0.3), rotate=30.0, translate=0.3),
}
RESIZE = {"colours": "stretch", "crop": "crop", "zoom": "letterbox", "keep": "stretch"}
KEPT = np.array((20.0, 30.0, 70.0, 60.0), np.float32)

PLAIN = (1.0, 1.0, 1.0, 0.0)
DRAWN = {
    ("colours", 0): (
        (0, 0, 500, 375), (0, 0, 400, 300), True, True, 0.0,
        (1.1892125642253586, 1.1322776428814993, 1.076142317581985, -0.05734284571670661),
    ),
    ("colours", 1): (
        (0, 0, 500, 375), (0, 0, 400, 300), True, False, 0.0,
        (1.1515570261426897, 1.1192593248507343, 1.1453809513168365, -0.09349659766057583),
    ),
    ("colours", 2): (
        (0, 0, 500, 375), (0, 0, 400, 300), False, True, 0.0,
        (1.0369338665805417, 0.7270813667828444, 0.8374392120258706, 0.027042739079566714),
    ),
    ("colours", 3): (
        (0, 0, 500, 375), (0, 0, 400, 300), False, True, 0.0,
        (0.8864411530238507, 1.0702149672072037, 0.9073688706008519, -0.014098623884186257),
    ),
    ("crop", 0): ((27, 55, 338, 350), (0, 0, 400, 300), True, False, 0.0, PLAIN),
    ("crop", 1): ((1, 17, 499, 300), (0, 0, 400, 300), True, False, 0.0, PLAIN),
    ("crop", 2): ((6, 0, 438, 375), (0, 0, 400, 300), False, False, 0.0, PLAIN),
    ("crop", 3): ((112, 54, 456, 303), (0, 0, 400, 300), False, False, 0.0, PLAIN),
    ("zoom", 0): ((49, 0, 500, 375), (0, 17, 248, 223), False, False, 12.115728459048471, PLAIN),
    ("zoom", 1): ((0, 0, 500, 375), (157, 48, 385, 218), False, False, 7.462370436826608, PLAIN),
    ("zoom", 2): ((107, 75, 500, 375), (0, 0, 160, 122), False, False, -2.7981636006272903, PLAIN),
    ("zoom", 3): ((0, 14, 500, 375), (5, 0, 288, 204), False, False, 3.7228473972070706, PLAIN),
    ("keep", 0): ((0, 0, 500, 375), (0, 0, 400, 300), False, False, 0.0, PLAIN),
    ("keep", 1): ((45, 0, 209, 115), (0, 20, 400, 300), False, False, -1.8205563128566538, PLAIN),
    ("keep", 2): ((0, 0, 500, 375), (0, 0, 400, 300), False, False, 0.0, PLAIN),
    ("keep", 3): ((43, 0, 230, 140), (0, 1, 400, 300), False, False, -12.530158737626882, PLAIN),
}  # fmt: skip
"""(options, epoch) -> source, target, flip, flip_vertical, angle, (brightness, contrast, saturation, hue)."""


@pytest.mark.parametrize(("name", "epoch"), DRAWN)
def test_draws_are_those_of_the_version_before(name, epoch):
    out = (300, 400)
    keep = KEPT if name == "keep" else None
    a = sample(order.example_rng(7, epoch, "image"), OPTIONS[name], (375, 500), out, spec_of(RESIZE[name], out), keep)
    colours = (a.colours.brightness, a.colours.contrast, a.colours.saturation, a.colours.hue)
    assert (a.source, a.target, a.flip, a.flip_vertical, a.angle, colours) == DRAWN[name, epoch]
