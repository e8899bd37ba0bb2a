"""Brightness, contrast, saturation and hue as one affine map of colours.

Each of the four is linear in RGB, so their product is one matrix, applied once: nothing is rounded or clipped in between,
and it costs a single pass over the pixels. Hue turns about the grey axis in the YIQ colour space (as analogue television
did), which keeps luma exactly and needs no conversion to HSV.
"""

import dataclasses
import math

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G and B in the grey of a pixel (ITU-R BT.601)."""

_RGB_TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
# A colour is its grey plus its chroma (I and Q), which turns in its plane: cos · chroma + sin · (chroma a quarter turn on).
_GREY = np.tile(LUMA, (3, 1))
_CHROMA = np.eye(3) - _GREY
_QUARTER_TURN = np.linalg.inv(_RGB_TO_YIQ) @ np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]) @ _RGB_TO_YIQ


@dataclasses.dataclass(frozen=True)
class Colours:
    """A change of colours; the defaults change nothing.

    Attributes:
        brightness: factor on all values.
        contrast: factor on the distance from the image's mean grey.
        saturation: factor on the distance of each pixel from its own grey.
        hue: turn of all hues, as a fraction of the circle.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    def matrix(self, mean: np.ndarray) -> np.ndarray:
        """Float [3, 4]: (r, g, b, 1) -> (r, g, b), for an image of mean colour `mean` [3]."""
        angle = 2.0 * math.pi * self.hue
        chroma = math.cos(angle) * _CHROMA + math.sin(angle) * _QUARTER_TURN
        matrix = np.empty((3, 4))
        matrix[:, :3] = self.brightness * self.contrast * (_GREY + self.saturation * chroma)
        matrix[:, 3] = self.brightness * (1.0 - self.contrast) * float(LUMA @ mean)
        return matrix

    def apply(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] RGB -> the same, rounded and clipped once; the image itself where nothing changes."""
        if self == UNCHANGED:
            return image
        return cv2.transform(image, self.matrix(np.array(cv2.mean(image)[:3])))


UNCHANGED = Colours()
