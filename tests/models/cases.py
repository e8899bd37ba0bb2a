"""One `Case` a model: what the laws and all other tests over all models have to know of it.

A model that joins the package gets one entry here; tests/models/test_laws.py says so if it has none.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """Attributes:
    config: name of a file in configs/; its variant "smoke" is the network that is tested.
    model: values of keys of `config.model` that differ: what is random is switched on, for example.
    learning_rate: of plain gradient descent, by which the loss on one batch of four images falls in forty steps.
    draws: whether training depends on the key (dropout, samples); then other keys must give other losses.
    background: whether there is something to learn from an image without objects; if not, its loss must be 0.
    shared: part of the parameters -> how many maps its layers see, where it is more than one (those that a neck adds, too):
        what its gradient sends between devices, it sends once for each (tests/programs/test_traffic.py).

    With these values, at its initialisation: each parameter that may move has a gradient on one batch of four 64×64 images
    (so that each map needs something to learn), and predictions differ between images (so that something is found: a prior
    of .01 wants `"detections": {"score_above": 0.0}`).
    """

    config: str
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 0.1
    draws: bool = True
    background: bool = False
    shared: dict[str, int] = dataclasses.field(default_factory=dict)


PIXELS = {"loss": {"dice": 0.5, "focal": 0.5}, "tta": "none"}
"""All terms of the segmenters' loss."""
PATH = {"name": "contracting_path", "width": 4, "depth": 2, "padding": "same", "norm": "batch", "dropout": 0.3}
HEADS = {"label_smoothing": 0.1, "dropout": 0.3}
CROPS = {"side": 32, "max_objects": 3, "chunk": 10, "proposals": {"most": 20}, "regions": {"number": 6, "share": 0.5}}
FEW = {"max_objects": 3, "regions": {"number": 12, "canonical": 60.0, "hidden": (8,)}}

CASES = {
    "classifier": Case("classifier_shapes", HEADS),
    "localizer": Case("localizer_shapes", {**HEADS, "box_loss": "mean_squared_error"}),
    "patchnet": Case("patchnet_shapes", {**PIXELS, "samples": 64, "chunk": 64}),
    "fullres": Case("fullres_shapes", {**PIXELS, "depth": 3}, draws=False),
    "encdec": Case("encdec_shapes", PIXELS, learning_rate=0.3, draws=False),
    "unet": Case("unet_membrane", {**PIXELS, "backbone": PATH}),
    "random_crops": Case("random_crops_shapes", {**HEADS, **CROPS, "box_loss": "mean_squared_error"}, background=True),
    "rcnn": Case("rcnn_shapes", {**CROPS, "dropout": 0.3, "context": 2, "boxes": {"number": 5}}, background=True),
    "fast_rcnn": Case("fast_rcnn_shapes", FEW, background=True),
    "faster_rcnn": Case(
        "faster_rcnn_shapes", {**FEW, "rpn": {"number": 32}}, learning_rate=0.02, background=True, shared={"rpn": 3}
    ),
    "yolo": Case(
        "yolo_shapes",
        {"max_objects": 3, "detections": {"score_above": 0.0}},
        learning_rate=0.01,
        draws=False,
        background=True,
    ),
    "ssd": Case("ssd_shapes", {"max_objects": 3, "l2_norm": True}, learning_rate=0.02, draws=False),
    "mask_rcnn": Case(
        "mask_rcnn_shapes", {**FEW, "rpn": {"number": 32}}, learning_rate=0.03, background=True, shared={"rpn": 3}
    ),
}
