"""Whether annotations are plausible: what every file format allows, and nobody means.

    fractions      boxes within the first pixel: fractions of the image where pixels should be
    crowd          all or most objects marked so that nothing is learnt from them
    one class      a class alone, which every network gets right

Each is asked of all boxes of a split at once. What is found must be absent from every healthy set, so a doubt needs evidence
that chance does not bring.
"""

import numpy as np

from cnnvision.data.faults import Findings
from cnnvision.types import Problem, Source

_PIXEL = 1.5
"""Fractions end at 1; x + width, of boxes told by their centre, at 1.5."""
_MOST_CROWD = 2 / 3
"""Share of crowd among all objects from which on it is remarked on."""


def doubts_about(source: Source) -> list[Problem]:
    """What is implausible about a source, of those whose annotations are at hand; nothing for others."""
    findings = Findings()
    if not getattr(source, "annotations_at_hand", False):
        return []
    objects = [(index, record.objects) for index, record in enumerate(source.records) if record.objects is not None]
    filled = [(index, each) for index, each in objects if len(each.boxes)]
    if filled:
        boxes = np.concatenate([each.boxes for _, each in filled])
        images = np.repeat([index for index, _ in filled], [len(each.boxes) for _, each in filled])
        crowd = np.concatenate([each.crowd for _, each in filled])
        _fractions(source, boxes, images, findings)
        _crowd(source, crowd, images, findings)
    if len(source.classes) == 1 and any(record.label is not None for record in source.records) and not objects:
        message = f"there is one class alone, {source.classes[0]!r}: every network is right about it"
        findings.add(source.name, message, "Look whether the folders of the classes lie where they are looked for.", "kept")
    return findings.problems


def _fractions(source: Source, boxes: np.ndarray, images: np.ndarray, findings: Findings) -> None:
    tiny = (boxes <= _PIXEL).all(axis=1)
    if tiny.any():
        first = int(np.argmax(tiny))
        message = f"{tiny.sum()} of {len(boxes)} boxes lie within the first pixel: they look like fractions of the image"
        cure = "Write pixels: fractions times the image's width and height."
        effect = "refused" if tiny.all() else "kept"
        value = " ".join(f"{side:g}" for side in boxes[first].tolist())
        findings.add(source.ids[images[first]], message, cure, effect, "", "box", value)


def _crowd(source: Source, crowd: np.ndarray, images: np.ndarray, findings: Findings) -> None:
    if crowd.mean() < _MOST_CROWD:
        return
    what = "nothing is learnt from them, and evaluation ignores them"
    message = f"{crowd.sum()} of {len(crowd)} objects are crowd (iscrowd 1, or difficult): {what}"
    cure = "Set iscrowd (or difficult) to 0 for single objects; CVAT writes 1 for masks that were drawn with a brush."
    first = source.ids[images[int(np.argmax(crowd))]]
    findings.add(source.name, message, cure, "kept", "", "crowd", first)
