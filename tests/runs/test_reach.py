"""What is said before the first step of objects that the network's targets cannot hold."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from cnnvision.runs.reach import beyond_reach
from cnnvision.types import Batch, DetectionPrediction, ObjectTarget


def loaded(boxes, labels, crowd=None, valid=(True,), dropped=0):
    boxes, labels = np.array(boxes, np.float32), np.array(labels, np.int32)
    alike = np.ones(labels.shape, bool)
    target = ObjectTarget(boxes, labels, alike, ~alike if crowd is None else np.array(crowd))
    rows = np.array(valid)
    return SimpleNamespace(
        dropped_objects=dropped,
        batch=Batch(image=None, size=None, valid=rows, index=None, transform=None, core=None, target=target),
    )


def first_alone(batch):
    """A network that can hold one object an image."""
    target = batch.target
    kept = jnp.zeros_like(target.valid).at[:, 0].set(True)
    return DetectionPrediction(target.boxes, target.labels, kept.astype(jnp.float32), kept)


def test_objects_that_nothing_can_hold_are_counted():
    """The first of each image is held, but not one that overlaps it much: one detection finds one object. Crowds and padding
    do not count."""
    square = lambda x, side: [x, 0, x + side, side]
    batches = [
        loaded([[square(0, 10), square(1, 10), square(50, 4)]], [[0, 0, 0]]),
        loaded([[square(0, 10), square(0, 6), square(50, 4)]], [[0, 1, 0]], [[False, False, True]]),
        loaded([[square(0, 10), square(30, 10)]], [[0, 0]], valid=(False,)),
    ]
    said = beyond_reach(first_alone, batches)
    assert said.startswith("3 of 5 objects of the first 2 training images (60.0%) cannot be learnt")
    assert "median of their sides is 6 input pixels, that of all 10" in said
    all_held = beyond_reach(first_alone, [loaded([[square(0, 10)]], [[0]])])
    assert all_held == "all 1 objects of the first 1 training images can be learnt"


def test_what_found_no_room_and_what_no_box_is_near_are_said():
    square = lambda x, side: [x, 0, x + side, side]
    batches = [loaded([[square(0, 10), square(30, 2), square(60, 4)]], [[0, 0, 0]], dropped=7)]
    every = lambda batch: DetectionPrediction(
        batch.target.boxes, batch.target.labels, batch.target.valid.astype(jnp.float32), batch.target.valid
    )
    said = beyond_reach(every, batches, lambda batch: batch.target.boxes[..., 3] > 5)
    assert said.startswith("all 3 objects of the first 1 training images can be learnt. 7 more find no room")
    assert "For 2 (66.7%), with a median side of 3 input pixels, no box of the network is near enough" in said
    assert "config.model.default_boxes" in said
